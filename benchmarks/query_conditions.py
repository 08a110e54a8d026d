"""Whether the exclusions, phrases, alternatives, brands and colours of queries are read, and nothing else for them.

    python -m benchmarks.query_conditions [--products P.csv.gz --map id=upc,title=name] [--half held-out] [--show]

`data/query_conditions.csv` (or --queries): shop, query, reading, half. `reading` has all conditions of the query but
its category, separated by semicolons: `-sleeves` (excluded), `"night charger"` (phrase), `nikon|canon` (alternatives),
`brand=sony`, `colour=red`; empty for none. The queries were written by hand, many of them names that look like
conditions: "no country for old men", "green tea". Those of the shop "demo" are read with the words of the demo shop;
--products are those of the shop "electronics". The halves "held-out" and "second held-out" were each looked at once,
then rules were mended (decision 45).

Precision is the share of the conditions found that are in the list, recall the share of those in the list that were
found. No service is started.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from catalog.products import read_catalogue
from demo.catalogue import write_catalogue
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.constraints import Constraint, ConstraintType
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.expansion import Expander
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.query_reader import QueryReader
from services.query_encoder.domain.text import normal_form

QUERIES = Path(__file__).parent / "data" / "query_conditions.csv"
SHOPS, HALVES = ("demo", "electronics"), ("development", "held-out", "second held-out")
_COLUMNS = ("shop", "query", "reading", "half")


@dataclass(frozen=True)
class Case:
    """A query with its conditions, in the notation of the file."""

    query: str
    reading: frozenset[str]


@dataclass(frozen=True)
class Figures:
    """Conditions that were found, those of them that are right, and those that are in the list."""

    found: int
    right: int
    listed: int

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.listed if self.listed else 1.0


def read_cases(path: Path, shop: str, half: str | None = None) -> list[Case]:
    """The cases of a shop, of one half or of both.

    Raises ValueError with the line for a missing column, an unknown shop or half, and a repeated query.
    """
    cases, seen = list[Case](), set[tuple[str, str]]()
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := [column for column in _COLUMNS if column not in (reader.fieldnames or ())]:
            raise ValueError(f"{path} has no column {missing[0]!r}; it needs {', '.join(_COLUMNS)}")
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            for column, known in (("shop", SHOPS), ("half", HALVES)):
                if row[column] not in known:
                    raise ValueError(f"{where}: {column} is {row[column]!r}; write {' or '.join(known)}")
            if not row["query"] or (row["shop"], row["query"]) in seen:
                raise ValueError(f"{where}: query {row['query']!r} is empty or repeated; write each query once")
            seen.add((row["shop"], row["query"]))
            if row["shop"] == shop and half in (None, row["half"]):
                cases.append(Case(row["query"], frozenset(filter(None, map(str.strip, row["reading"].split(";"))))))
    return cases


def readings(queries: Iterable[str], lexicon: Lexicon) -> list[frozenset[str]]:
    """What each query is read as, in the notation of the file."""
    domain, corrector = embedded_domain(), SpellCorrector(lexicon.words)
    reader, expander = QueryReader(domain, "USD"), Expander(domain.graph, frozenset(lexicon.words))
    read = (reader.read(normal_form(query), lexicon, corrector, expander).constraints for query in queries)
    return [frozenset(filter(None, map(_written, constraints))) for constraints in read]


def is_name(condition: str) -> bool:
    """Whether it is a brand or colour, and no exclusion, phrase or alternatives."""
    return condition.startswith(("brand=", "colour="))


def figures_of(cases: Sequence[Case], read: Sequence[frozenset[str]], *, names: bool) -> Figures:
    """Of brands and colours, or of the other conditions."""
    found, listed = (
        [{one for one in conditions if is_name(one) == names} for conditions in each]
        for each in (read, [case.reading for case in cases])
    )
    right = sum(len(one & other) for one, other in zip(found, listed, strict=True))
    return Figures(sum(map(len, found)), right, sum(map(len, listed)))


def demo_lexicon() -> Lexicon:
    with tempfile.TemporaryDirectory() as folder:
        write_catalogue(Path(folder) / "demo.jsonl")
        return Lexicon.of(read_catalogue(Path(folder) / "demo.jsonl", ""))


def _written(constraint: Constraint) -> str:
    value = normal_form(constraint.value)
    match constraint.type:
        case ConstraintType.EXCLUSION:
            return f"-{value}"
        case ConstraintType.PHRASE:
            return f'"{value}"'
        case ConstraintType.ALTERNATIVES:
            return "|".join(constraint.alternatives)
        case ConstraintType.BRAND:
            return f"brand={value}"
        case ConstraintType.ATTRIBUTE:
            return f"{constraint.attribute}={value}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, help="of the electronics shop; without it the demo shop alone")
    parser.add_argument("--map", default="", help="as for `kairos catalog import`")
    parser.add_argument("--queries", type=Path, default=QUERIES, help="shop, query, reading, half")
    parser.add_argument("--half", choices=HALVES, help="of the queries; without it both")
    parser.add_argument("--show", action="store_true", help="print the queries that are read wrongly")
    arguments = parser.parse_args()
    lexicons = {"demo": demo_lexicon()}
    if arguments.products:
        lexicons["electronics"] = Lexicon.of(read_catalogue(arguments.products, arguments.map))
    table = Table("", "queries", "found", "precision", "recall")
    cases, read = list[Case](), list[frozenset[str]]()
    for shop, lexicon in lexicons.items():
        own = read_cases(arguments.queries, shop, arguments.half)
        cases += own
        read += readings([case.query for case in own], lexicon)
    if arguments.show:
        for case, found in zip(cases, read, strict=True):
            if found != case.reading:
                print(f"{case.query}: read {sorted(found)}, right {sorted(case.reading)}")
    for title, names in (("exclusions, phrases, alternatives", False), ("brands, colours", True)):
        figures = figures_of(cases, read, names=names)
        row = (str(len(cases)), str(figures.found), f"{figures.precision:.3f}", f"{figures.recall:.3f}")
        table.add_row(title, *row)
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
