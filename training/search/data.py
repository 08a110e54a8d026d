"""Judged queries: which products are relevant to a query, and the training pairs and metrics derived from them."""

from __future__ import annotations

import csv
import gzip
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

Value = TypeVar("Value")
# By query, then by product id: relevance from 1 (does not match) to 3 (matches perfectly).
Judgements = Mapping[str, Mapping[str, float]]

# From RELEVANT on a product is a right answer; from NOT_WRONG on it is never used as a negative.
RELEVANT, NOT_WRONG = 2.33, 2.0
# Results of one page.
NDCG_DEPTH = 10


@dataclass(frozen=True)
class Pair:
    """A query and a product that answers it. `text` is the encoder's text of the product, `weight` is in (0, 1]."""

    query: str
    product_id: str
    text: str
    weight: float = 1.0


def relevant_pairs(judgements: Judgements, texts: Mapping[str, str]) -> list[Pair]:
    """One pair for each relevant product with a text in `texts` (by product id); the weight is the gain, at most 1."""
    return [
        Pair(query, product_id, texts[product_id], gain(relevance) / gain(3.0))
        for query, judged in judgements.items()
        for product_id, relevance in judged.items()
        if relevance >= RELEVANT and product_id in texts
    ]


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
                    f"{path}, line {reader.line_num}: relevance {row['relevance']!r} is not a number"
                ) from None
            if query := row["search_term"].strip():
                judged[query][row["product_uid"]] = relevance
    return judged


def gain(relevance: float) -> float:
    """2^(relevance − 1) − 1, from 0 to 3 (Järvelin & Kekäläinen, TOIS 2002, with exponential gains)."""
    return float(2.0 ** (relevance - 1.0) - 1.0)


def ndcg(ranking: Sequence[str], judged: Mapping[str, float], depth: int = NDCG_DEPTH) -> float:
    """NDCG of product ids, best first; unjudged products gain 0. NaN if no product of the query has a gain."""
    gains = {product_id: gain(relevance) for product_id, relevance in judged.items()}
    ideal = dcg(sorted(gains, key=gains.__getitem__, reverse=True), gains, depth)
    return dcg(ranking, gains, depth) / ideal if ideal > 0 else float("nan")


def dcg(ranking: Sequence[str], gains: Mapping[str, float], depth: int = NDCG_DEPTH) -> float:
    """The sum of the gains of product ids, best first, each divided by log2(1 + place); others gain 0."""
    found = np.array([gains.get(product_id, 0.0) for product_id in ranking[:depth]], np.float64)
    return float(found @ (1 / np.log2(np.arange(2, len(found) + 2))))


def split(of: Mapping[str, Value], share: float, salt: str) -> tuple[Mapping[str, Value], Mapping[str, Value]]:
    """(about `share` of the queries, the others), by a hash of the query: the same for every file and run."""
    chosen = {query for query in of if _position(query, salt) < share}
    return _only(of, chosen), _only(of, of.keys() - chosen)


def _position(query: str, salt: str) -> float:
    words = " ".join(query.lower().split())
    digest = hashlib.blake2b(f"{salt}\n{words}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") / 2**32


def _only(of: Mapping[str, Value], queries: Iterable[str]) -> Mapping[str, Value]:
    kept = set(queries)
    return {query: value for query, value in of.items() if query in kept}
