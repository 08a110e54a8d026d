"""Category accuracy of Chinese and code-mixed queries, over a bilingual catalogue and over an English one.

    python -m benchmarks.bilingual --out R.json

`data/bilingual.csv` (or --queries): query, its category ("Clothing > Jeans"; several are joined by "|"), and the
catalogue that it is for (demo, english or both). The catalogues: the demo shop, and the same shop without Chinese
characters. hit@10: a product of the category is among the first ten results; precision@10: the share of such products.
The baseline is the same suite over the same import with an empty concept graph.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from catalog.imports import CatalogImport, Rejects
from catalog.mapping import parse_mapping
from demo.catalogue import DemoProduct, build_catalogue, write_catalogue
from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import InProcessSuite, in_process_suite
from services.common.product import CATEGORY_SEPARATOR
from services.common.scripts import has_han

DEPTH = 10
QUERIES = Path(__file__).parent / "data" / "bilingual.csv"
DEMO, ENGLISH, BOTH = "demo", "english", "both"
WITHOUT, WITH = "without concepts", "kairos"
_TIMEOUT_S = 60.0
_IN_FLIGHT = 2


@dataclass(frozen=True)
class Question:
    query: str
    categories: tuple[str, ...]
    catalogue: str

    @property
    def is_code_mixed(self) -> bool:
        return any(character.isascii() and character.isalpha() for character in self.query)


@dataclass(frozen=True)
class Outcome:
    """`categories` of the first ten results; `unknown_language`: the answer has this degradation."""

    categories: tuple[str, ...]
    unknown_language: bool

    def right(self, question: Question) -> int:
        return sum(found.startswith(question.categories) for found in self.categories)


def read_questions(path: Path) -> list[Question]:
    """Raises ValueError for a row without a category or with an unknown catalogue."""
    questions = []
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            if not row["query"] or not row["category"] or row["catalogue"] not in (DEMO, ENGLISH, BOTH):
                raise ValueError(f"{path}:{number}: needs query, category and catalogue (demo, english or both): {row}")
            questions.append(Question(row["query"], tuple(row["category"].split("|")), row["catalogue"]))
    return questions


def english_only(products: Sequence[DemoProduct]) -> list[DemoProduct]:
    return [replace(product, title_zh="", description_zh="", category_path_zh=()) for product in products]


def ask(suite: InProcessSuite, questions: Sequence[Question], name: str) -> list[Outcome]:
    with grpc.insecure_channel(suite.gateway_target) as channel, ThreadPoolExecutor(_IN_FLIGHT) as pool:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)

        def search(question: Question) -> Outcome:
            answer = stub.Search(gateway_pb2.SearchRequest(query=question.query, page_size=DEPTH), timeout=_TIMEOUT_S)
            reasons = {degradation.reason for degradation in answer.degradations}
            unknown = common_pb2.DEGRADATION_REASON_UNKNOWN_LANGUAGE
            if reasons - {unknown}:
                # With a late stage the figures would measure the machine.
                raise RuntimeError(f"{question.query!r}: {answer.degradations}")
            found = (CATEGORY_SEPARATOR.join(result.product.category_path) for result in answer.results)
            return Outcome(tuple(found), unknown in reasons)

        return list(tqdm(pool.map(search, questions), total=len(questions), desc=name, unit=" queries"))


def written(products: Sequence[DemoProduct], folder: Path) -> Path:
    """Writes the shop as an import file."""
    path = folder / "catalogue.jsonl.gz"
    write_catalogue(path, list(products))
    return path


def import_file(suite: InProcessSuite, path: Path) -> None:
    rejects = Rejects(path.with_name("rejects.jsonl"))
    summary = CatalogImport(Connection(suite.gateway_target), parse_mapping("", None, "USD"), rejects).run(path)
    tqdm.write(f"{summary.imported} products imported, {summary.rejected} rejected")


def measure(
    products: Sequence[DemoProduct], questions: Sequence[Question], folder: Path, name: str
) -> dict[str, list[Outcome]]:
    """Outcomes with and without concepts, over the same import."""
    folder.mkdir(parents=True)
    path, empty = written(products, folder), folder / "no_concepts.yaml"
    empty.write_text("{}\n")
    if name == ENGLISH and has_han(gzip.decompress(path.read_bytes()).decode()):
        raise ValueError("the English catalogue contains Chinese characters")
    with in_process_suite(folder) as suite:
        import_file(suite, path)
    with in_process_suite(folder) as suite:
        found = {WITH: ask(suite, questions, f"{name}, {WITH}")}
    with in_process_suite(folder, encoder={"concepts_file": empty}) as suite:
        return {WITHOUT: ask(suite, questions, f"{name}, {WITHOUT}")} | found


def figures(questions: Sequence[Question], outcomes: Sequence[Outcome]) -> dict[str, float]:
    right = [outcome.right(question) for question, outcome in zip(questions, outcomes, strict=True)]
    mixed = [hits for question, hits in zip(questions, right, strict=True) if question.is_code_mixed]
    return {
        "queries": len(questions),
        "hit@10": round(sum(hits > 0 for hits in right) / len(right), 4),
        "hit@10 code-mixed": round(sum(hits > 0 for hits in mixed) / max(len(mixed), 1), 4),
        "first right": round(
            sum(o.categories[:1] != () and o.categories[0].startswith(q.categories)
                for q, o in zip(questions, outcomes, strict=True)) / len(right), 4,
        ),
        "precision@10": round(sum(right) / DEPTH / len(right), 4),
        "unknown language": round(sum(outcome.unknown_language for outcome in outcomes) / len(outcomes), 4),
    }  # fmt: skip


def report(results: Mapping[str, Mapping[str, dict[str, float]]]) -> Table:
    table = Table(title="Chinese and code-mixed queries: the right category")
    columns = ("queries", "hit@10", "hit@10 code-mixed", "first right", "precision@10", "unknown language")
    for heading in ("catalogue", "", *columns):
        table.add_column(heading, justify="right" if heading in columns else "left")
    for catalogue, rows in results.items():
        for name, row in rows.items():
            table.add_row(catalogue, name, f"{row['queries']:.0f}", *(f"{row[column]:.1%}" for column in columns[1:]))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--queries", type=Path, default=QUERIES)
    parser.add_argument("--seed", type=int, default=7, help="of the demo shop")
    arguments = parser.parse_args()
    questions = read_questions(arguments.queries)
    products = build_catalogue(arguments.seed)
    results: dict[str, dict[str, dict[str, float]]] = {}
    missed: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory(prefix="kairos-bilingual-") as folder:
        for name, shop in ((DEMO, products), (ENGLISH, english_only(products))):
            asked = [question for question in questions if question.catalogue in (name, BOTH)]
            if not asked:
                continue
            outcomes = measure(shop, asked, Path(folder) / name, name)
            results[name] = {row: figures(asked, found) for row, found in outcomes.items()}
            missed[name] = [q.query for q, o in zip(asked, outcomes[WITH], strict=True) if not o.right(q)]
    Console().print(report(results))
    for name, queries in missed.items():
        print(f"{name}: {len(queries)} without a right product: {', '.join(queries)}")
    summary = {"queries": len(questions), "seed": arguments.seed, "figures": results, "missed": missed}
    arguments.out.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
