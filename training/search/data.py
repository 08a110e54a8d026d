"""Judged queries: who should find what."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

# By query, then by product: relevance from 1 (does not match) to 3 (matches perfectly).
Judgements = Mapping[str, Mapping[str, float]]

# From here on a product counts as found; what is below is no wrong answer yet.
RELEVANT, NOT_WRONG = 2.33, 2.0
# A page of results.
NDCG_DEPTH = 10


def read_judgements(path: Path) -> Judgements:
    """Columns search_term, product_uid, relevance. Raises ValueError that names a missing column or a wrong row."""
    judged: defaultdict[str, dict[str, float]] = defaultdict(dict)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = {"search_term", "product_uid", "relevance"}.difference(reader.fieldnames or ())
        if missing:
            raise ValueError(
                f"{path} has no column {sorted(missing)[0]!r}; it has {', '.join(reader.fieldnames or ())}"
            )
        for row in reader:
            try:
                relevance = float(row["relevance"])
            except ValueError:
                raise ValueError(
                    f"{path}, line {reader.line_num}: relevance {row['relevance']!r} is no number"
                ) from None
            if query := row["search_term"].strip():
                judged[query][row["product_uid"]] = relevance
    return judged


def gain(relevance: float) -> float:
    """0 for 1, 3 for 3: Järvelin & Kekäläinen, TOIS 2002, with exponential gains."""
    return float(2.0 ** (relevance - 1.0) - 1.0)


def ndcg(ranking: Sequence[str], judged: Mapping[str, float], depth: int = NDCG_DEPTH) -> float:
    """Of product ids, best first; what nobody judged gains nothing. NaN where nothing is to be found."""
    discounts = 1 / np.log2(np.arange(2, depth + 2))
    best = _gains(sorted(judged.values(), reverse=True)[:depth])
    ideal = float(best @ discounts[: len(best)])
    found = _gains([judged.get(product_id, 1.0) for product_id in ranking[:depth]])
    return float(found @ discounts[: len(found)]) / ideal if ideal > 0 else float("nan")


def split(judgements: Judgements, share: float, salt: str) -> tuple[Judgements, Judgements]:
    """(about `share` of the queries, the others). By the words of a query alone: the same in every file and run."""
    chosen = {query for query in judgements if _position(query, salt) < share}
    return _only(judgements, chosen), _only(judgements, judgements.keys() - chosen)


def _position(query: str, salt: str) -> float:
    words = " ".join(query.lower().split())
    digest = hashlib.blake2b(f"{salt}\n{words}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") / 2**32


def _only(judgements: Judgements, queries: Iterable[str]) -> Judgements:
    kept = set(queries)
    return {query: judged for query, judged in judgements.items() if query in kept}


def _gains(relevances: Iterable[float]) -> npt.NDArray[np.float64]:
    return np.array([gain(relevance) for relevance in relevances], np.float64)
