"""Converts public data sets to the input of `benchmarks.transfer`: products.csv.gz and judgements.csv.gz in a folder.

    python -m benchmarks.transfer_data bought --folder amazon_cellphones_search --out DIR
    python -m benchmarks.transfer_data described --products retrotech/products.csv.gz --out DIR

bought: an item that any user bought after a query is relevant to it (items.tsv.gz, query_text.txt.gz, *.qrels.gz). An
item's text is its brand and categories, since there are no titles; items with equal texts are one product.
described: four to six words of a product's description are a query for it. The products keep name and manufacturer
alone, so that the text of a product does not contain the words of its query.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

_WORD = re.compile(r"\w{3,}")
# Words of a query, in the order of the description: from 4 to 6.
_WORDS = (4, 7)
Row = tuple[str, ...]


def bought(folder: Path) -> tuple[list[Row], list[Row]]:
    """Rows (id, text) and rows (query, id, relevance)."""
    with gzip.open(folder / "items.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        texts = {row["asin"]: f"{row['brand']} {row['categories'].replace(' | ', ' ')}".strip() for row in rows}
    with gzip.open(folder / "query_text.txt.gz", "rt", encoding="utf-8") as file:
        queries = file.read().splitlines()
    first = {text: asin for asin, text in reversed(texts.items()) if text}
    pairs = {
        (queries[int(line.split()[0].rpartition("_")[2])], first[texts[line.split()[2]]])
        for path in sorted(folder.glob("*.qrels.gz"))
        for line in gzip.decompress(path.read_bytes()).decode().splitlines()
        if line.strip() and texts.get(line.split()[2])
    }
    return [(asin, text) for text, asin in first.items()], [(query, asin, "3") for query, asin in sorted(pairs)]


def described(products: Path, queries: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows (id, text) and rows (query, id, relevance), from upc, name, manufacturer and short_description."""
    random = np.random.default_rng(seed)
    with gzip.open(products, "rt", encoding="utf-8", newline="") as file:
        rows = {row["upc"]: row for row in csv.DictReader(file)}
    known = [row for row in rows.values() if len(_WORD.findall(row["short_description"])) >= _WORDS[1]]
    judged: list[Row] = []
    for index in random.permutation(len(known))[:queries]:
        words = _WORD.findall(known[index]["short_description"].lower())
        chosen = sorted(random.permutation(len(words))[: int(random.integers(_WORDS[0], _WORDS[1]))])
        judged.append((" ".join(words[position] for position in chosen), known[index]["upc"], "3"))
    return [(upc, f"{row['name']} {row['manufacturer']}".strip()) for upc, row in rows.items()], judged


def write(path: Path, header: Row, rows: Iterable[Row]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(_with(header, rows))


def _with(header: Row, rows: Iterable[Row]) -> Iterator[Row]:
    yield header
    yield from rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("bought")
    one.add_argument("--folder", type=Path, required=True)
    other = kinds.add_parser("described")
    other.add_argument("--products", type=Path, required=True)
    other.add_argument("--queries", type=int, default=1_000)
    other.add_argument("--seed", type=int, default=0)
    for each in (one, other):
        each.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    if arguments.kind == "bought":
        products, judged = bought(arguments.folder)
    else:
        products, judged = described(arguments.products, arguments.queries, arguments.seed)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write(arguments.out / "products.csv.gz", ("product_uid", "product_title"), products)
    write(arguments.out / "judgements.csv.gz", ("search_term", "product_uid", "relevance"), judged)
    print(f"{len(products):,} products, {len({query for query, *_ in judged}):,} queries, {len(judged):,} judgements")
    return 0


if __name__ == "__main__":
    sys.exit(main())
