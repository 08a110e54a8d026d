"""Whether head queries get what they ask for first: a laptop for "laptop", and no laptop bag.

    python -m benchmarks.first_results --products P.csv.gz --map id=upc,title=name --out R.json [--half development]

`data/head_queries.csv` (or --queries): query; `right` and `wrong`, regular expressions that are searched for in titles
without regard to case; and `half`. A product is right if its title has `right` and not `wrong`. The queries of the
project were written by hand for an electronics shop. Of `data/head_queries.csv` both halves were used to choose rules,
of the newer and larger `data/head_queries_second.csv` only the half "development". The half is a hash of the query.
With --with-categories the expressions are searched for in "Kitchen > Mugs: Coffee Mug, White";
`data/demo_head_queries.csv` are such queries for the demo shop, in English and Chinese.

P@5: the right products among the first five, divided by five, or by the right products of the catalogue if these are
fewer. Queries without a right product do not count. "kairos" is the gateway's Search with default settings for an
unknown shopper; bm25s searches the titles of the same products.

The work folder and R.json keep what is finished: the same command continues.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from benchmarks.results import Results
from benchmarks.search_quality import BM25S, KAIROS, Ranking, bm25s_rankings, by_gateway
from catalog.products import read_catalogue
from ops.in_process import in_process_suite
from services.common.product import CATEGORY_SEPARATOR, Product
from training.bootstrap import mean_interval
from training.search.train import import_products

DEPTH = 5
QUERIES = Path(__file__).parent / "data" / "head_queries.csv"
HALVES = ("development", "held-out")
_COLUMNS = ("query", "right", "wrong", "half")
_PAGE_SIZE = 10
_SEED = 0
_NOTHING = "(?!)"


@dataclass(frozen=True)
class Rule:
    """Which products are right for a query, by their titles. `wrong` wins over `right`."""

    right: re.Pattern[str]
    wrong: re.Pattern[str]

    def holds(self, title: str) -> bool:
        return self.right.search(title) is not None and self.wrong.search(title) is None

    def existing(self, titles: Iterable[str]) -> int:
        """The number of right titles, at most `DEPTH`."""
        return sum(1 for _ in islice(filter(self.holds, titles), DEPTH))

    def precision(self, first: Sequence[str], existing: int) -> float:
        """P@5 of the titles of the results, best first; NaN without a right product."""
        return sum(map(self.holds, first[:DEPTH])) / existing if existing else float("nan")


@dataclass(frozen=True)
class Figures:
    """By query; NaN for a query without a right product. `first`: 1 if the first result is right."""

    precision: npt.NDArray[np.float64]
    first: npt.NDArray[np.float64]

    def summary(self) -> dict[str, Any]:
        return {"p@5": _with_interval(self.precision), "first right": _with_interval(self.first)}

    def minus(self, other: Figures) -> Figures:
        return Figures(self.precision - other.precision, self.first - other.first)


def read_rules(path: Path, half: str | None = None) -> dict[str, Rule]:
    """The rules by query, of one half or of both.

    Raises ValueError with the line for a missing column, an unknown half, a repeated query and a wrong expression.
    """
    rules = dict[str, Rule]()
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := [column for column in _COLUMNS if column not in (reader.fieldnames or ())]:
            raise ValueError(f"{path} has no column {missing[0]!r}; it needs {', '.join(_COLUMNS)}")
        seen = set[str]()
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if row["half"] not in HALVES:
                raise ValueError(f"{where}: half is {row['half']!r}; write {' or '.join(HALVES)}")
            if not row["query"] or row["query"] in seen:
                raise ValueError(f"{where}: query {row['query']!r} is empty or repeated; write each query once")
            seen.add(row["query"])
            rule = Rule(_pattern(where, "right", row["right"]), _pattern(where, "wrong", row["wrong"]))
            if half in (None, row["half"]):
                rules[row["query"]] = rule
    return rules


def figures_of(
    rules: Mapping[str, Rule],
    existing: Mapping[str, int],
    titles: Mapping[str, str],
    rankings: Mapping[str, Ranking],
) -> Figures:
    """`existing` as Rule.existing counts; `titles`, or what else is judged, by product id."""
    firsts = {query: [titles[id] for id in rankings[query][:DEPTH]] for query in rules}
    precision = [rule.precision(firsts[query], existing[query]) for query, rule in rules.items()]
    first = [rule.precision(firsts[query][:1], min(existing[query], 1)) for query, rule in rules.items()]
    return Figures(np.array(precision), np.array(first))


def judged_text(product: Product) -> str:
    """What a rule for products of a shop with categories is searched for in."""
    return f"{CATEGORY_SEPARATOR.join(product.category_path)}: {product.title}"


def _pattern(where: str, column: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text or _NOTHING, re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"{where}: {column} is no regular expression: {error}") from None


def _with_interval(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    return {"value": round(float(np.nanmean(values)), 4), "interval_95": mean_interval(values, _SEED)}


def _by_bm25s(titles: Mapping[str, str], queries: Sequence[str]) -> dict[str, Ranking]:
    return {query: found[:_PAGE_SIZE] for query, found in bm25s_rankings(titles, queries).items()}


def _by_kairos(
    products: Path, mapping: str, queries: Sequence[str], results: Results, folder: Path
) -> dict[str, Ranking]:
    with in_process_suite(folder) as suite:
        results.part("import", lambda: import_products(suite, products, mapping, folder))
        return by_gateway(suite, queries, KAIROS, _PAGE_SIZE)


def show_table(title: str, summaries: Mapping[str, Mapping[str, Any]]) -> None:
    table = Table(title=title)
    for heading in ("", "P@5", "95 %", "first right", "95 %"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, figures in summaries.items():
        cells = [(f"{of['value']:.3f}", "{:.3f} to {:.3f}".format(*of["interval_95"])) for of in figures.values()]
        table.add_row(name, *(cell for pair in cells for cell in pair))
    Console().print(table)


def show_queries(
    rules: Mapping[str, Rule], titles: Mapping[str, str], rankings: Mapping[str, Ranking], figures: Figures
) -> None:
    """The queries whose P@5 is below 1, with their first titles; a right one is marked with +."""
    for (query, rule), precision in zip(rules.items(), figures.precision, strict=True):
        if precision < 1:
            print(f"{query}: {precision:.2f}")
            for title in (titles[id] for id in rankings[query][:DEPTH]):
                print(f"  {'+' if rule.holds(title) else '-'} {title}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--map", default="", help="as for `kairos catalog import`")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--queries", type=Path, default=QUERIES, help="query, right, wrong, half")
    parser.add_argument("--with-categories", action="store_true", help="judge by the category's path and the title")
    parser.add_argument("--half", choices=HALVES, help="of the queries; without it both")
    parser.add_argument("--work", type=Path, help="the folder of the suite's state; without it beside the JSON file")
    parser.add_argument(
        "--show", action="store_true", help="print the queries with a P@5 below 1, and their first titles"
    )
    arguments = parser.parse_args()
    rules = read_rules(arguments.queries, arguments.half)
    folder = (arguments.work or arguments.out.with_suffix("")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.blake2b(arguments.queries.read_bytes(), digest_size=6).hexdigest()
    options = {"products": str(arguments.products), "map": arguments.map, "half": arguments.half}
    options |= {"categories": True} if arguments.with_categories else {}
    results = Results(arguments.out, options | {"queries": digest, "work": str(folder)})
    products = list(read_catalogue(arguments.products, arguments.map))
    titles = {product.id: product.title for product in products}
    judged = {product.id: judged_text(product) for product in products} if arguments.with_categories else titles
    counts = {rule: rule.existing(judged.values()) for rule in set(rules.values())}
    existing = {query: counts[rule] for query, rule in rules.items()}
    counted = sum(map(bool, existing.values()))
    if not counted:
        parser.error(f"{arguments.products} has no product that is right for a query of {arguments.queries}")
    queries = list(rules)
    rankings = {
        BM25S: results.part(BM25S, lambda: _by_bm25s(titles, queries)),
        KAIROS: results.part(KAIROS, lambda: _by_kairos(arguments.products, arguments.map, queries, results, folder)),
    }
    figures = {name: figures_of(rules, existing, judged, found) for name, found in rankings.items()}
    both = figures | {f"{KAIROS} minus {BM25S}": figures[KAIROS].minus(figures[BM25S])}
    results.part("queries", lambda: {"counted": counted, "without a right product": len(rules) - counted})
    summaries = results.part("figures", lambda: {name: found.summary() for name, found in both.items()})
    if arguments.show:
        show_queries(rules, judged, rankings[KAIROS], figures[KAIROS])
    show_table(f"{counted} queries; {len(rules) - counted} more have no right product", summaries)
    return 0


if __name__ == "__main__":
    sys.exit(main())
