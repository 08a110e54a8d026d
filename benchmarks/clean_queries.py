"""Whether the spelling correction changes the first page of queries that are spelt correctly.

    python -m benchmarks.clean_queries --products P.csv.gz --map id=upc,title=name --out R.json [--sample N --seed S]

A clean query has two to four words of the shop, and each pair of neighbours stands together in a title. It goes through
the gateway's Search twice: as the product is, and with a correction that changes nothing and names no alternatives.
Counted are the first pages (10) that differ, twice: on a busy machine the encoder may be late, and the answer is then
lexical. The goal is none.

The work folder keeps the imported catalogue.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.search_quality import by_gateway
from catalog.products import read_catalogue
from ops.in_process import in_process_suite
from services.query_encoder.domain.correction import SpellCorrector, Spelling
from services.query_encoder.domain.text import normal_form, words
from training.search.train import import_products

_LENGTHS = (2, 3, 4)
_PAGE_SIZE = 10
_TRIES = 2


def clean_queries(titles: Iterable[str], count: int, seed: int) -> list[str]:
    """`count` different queries: from a word to one that follows it in some title, and so on.

    Raises ValueError if the titles give fewer.
    """
    followers: dict[str, list[str]] = {}
    for title in titles:
        for left, right in pairwise(words(normal_form(title))):
            followers.setdefault(left, []).append(right)
    rng, firsts = random.Random(seed), [word for word, those in followers.items() for _ in those]
    found = dict[str, None]()
    for _ in range(20 * count if firsts else 0):
        walk = [rng.choice(firsts)]
        length = rng.choice(_LENGTHS)
        while len(walk) < length and walk[-1] in followers:
            walk.append(rng.choice(followers[walk[-1]]))
        if len(walk) == length:
            found[" ".join(walk)] = None
        if len(found) == count:
            return list(found)
    raise ValueError(f"the titles give {len(found)} clean queries; ask for at most so many")


def measure(products: Path, mapping: str, queries: Sequence[str], folder: Path) -> dict[str, Any]:
    with in_process_suite(folder) as suite:
        if not (folder / "imported").exists():
            import_products(suite, products, mapping, folder)
            (folder / "imported").touch()
        changed = list(queries)
        for _ in range(_TRIES):
            served = by_gateway(suite, changed, "as it is", _PAGE_SIZE)
            with mock.patch.object(SpellCorrector, "read", lambda _, text: Spelling(text)):
                uncorrected = by_gateway(suite, changed, "without correction", _PAGE_SIZE)
            changed = [query for query in changed if served[query] != uncorrected[query]]
    return {"queries": len(queries), "changed": len(changed), "which": changed}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--map", default="", help="as for `kairos catalog import`")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--sample", type=int, default=3_000, help="queries")
    parser.add_argument("--seed", type=int, default=0, help="of the queries")
    parser.add_argument("--work", type=Path, help="the folder of the suite's state; without it beside the JSON file")
    arguments = parser.parse_args()
    folder = (arguments.work or arguments.out.with_suffix("")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    titles = (product.title for product in read_catalogue(arguments.products, arguments.map))
    queries = clean_queries(titles, arguments.sample, arguments.seed)
    report = measure(arguments.products, arguments.map, queries, folder) | {"seed": arguments.seed}
    arguments.out.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n")
    print(f"{report['changed']} of {len(queries):,} first pages differ", *report["which"][:20], sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
