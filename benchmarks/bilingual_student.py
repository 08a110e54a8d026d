"""An encoder that reads Chinese (`python -m training.bilingual`) beside the concept graph's English renderings.

    python -m benchmarks.bilingual_student --student DIR --out R.json [--products P.csv.gz --judgements J.csv.gz]
    python -m benchmarks.bilingual_student --remove 0.2 --graph G.yaml

The queries are those of benchmarks.bilingual; train the student with `--hold-out benchmarks/data/bilingual.csv`. Over
the demo shop without Chinese characters, all from one run:

    dense alone     exact search by vectors: the student's vector of the query, the English encoder's vector of the
                    graph's rendering of the query (`rendered_text`), and the student's vector of both in one text
    whole product   Search with default settings, with the embedded encoder and with the student, each also without
                    the graph

Queries that are a label of the graph are also reported separately: the student's word pieces for them start from the
graph's English labels. With J: NDCG@10 of English queries by vectors alone, of student and teacher.

The second form writes a graph without a share of its Chinese labels. A student trained with it and this benchmark, both
under KAIROS_QUERY_ENCODER_CONCEPTS_FILE=G.yaml, show the effect of missing labels: "removed" are the queries whose
rendering differs from that of the whole graph.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from benchmarks.bilingual import (
    DEMO,
    DEPTH,
    QUERIES,
    Outcome,
    Question,
    ask,
    english_only,
    figures,
    import_file,
    read_questions,
    written,
)
from catalog.products import read_catalogue
from demo.catalogue import build_catalogue
from ops.in_process import in_process_suite
from services.common.arrays import FloatArray
from services.common.product import CATEGORY_SEPARATOR, Product
from services.query_encoder.adapters.domain_files import embedded_domain, load_domain
from services.query_encoder.domain.concept_finding import ConceptFinder
from services.query_encoder.domain.concepts import ConceptGraph, chinese_key
from services.query_encoder.domain.expansion import Expander
from services.query_encoder.domain.product_text import product_text
from services.query_encoder.domain.text import normalise
from services.query_encoder.ports import Encoder
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_encoder
from training.compression.quality import measure_dense, relative_interval
from training.compression.sample import draw
from training.search.data import read_judgements

RENDERED, STUDENT, JOINED = (
    "English encoder, rendering of the query",
    "student, query",
    "student, both in one text",
)
EMBEDDED, WITH_STUDENT = "embedded encoder", "student"
GROUPS = ("labels", "others", "removed")
_GRAPH, _NO_GRAPH = "", ", without the graph"
_ENGLISH_QUERIES, _ENGLISH_PRODUCTS = 500, 6_000


def renderings(questions: Sequence[Question], graph: ConceptGraph) -> list[str]:
    """The English renderings that EncodeQuery computes; empty for a query without a known label."""
    finder, expander = ConceptFinder(graph), Expander(graph, frozenset())
    normal = [normalise(question.query) for question in questions]
    return [expander.expand(finder.read(text), text).rendering for text in normal]


def without_labels(graph: ConceptGraph, share: float, seed: int) -> dict[str, Any]:
    """The graph as a document, without a random share of its Chinese labels."""
    random = np.random.default_rng(seed)
    labels = sorted(graph.by_chinese)
    removed = {labels[row] for row in random.permutation(len(labels))[: round(share * len(labels))]}
    document: dict[str, Any] = {"fillers": sorted(graph.fillers - removed)}
    for concept in graph.concepts.values():
        known = [label for label in concept.chinese if chinese_key(label) not in removed]
        entry = {"labels": concept.english + known, "is_a": concept.is_a, "goes_with": concept.goes_with}
        document.setdefault(concept.kind.value, {})[concept.name] = entry
    return document


def nearest(queries: FloatArray, products: FloatArray, categories: Sequence[str]) -> list[Outcome]:
    """The categories of the ten nearest products; a query without a vector has no results."""
    found = []
    for vector in queries:
        best = np.argsort(-(products @ vector), kind="stable")[: DEPTH if vector.any() else 0]
        found.append(Outcome(tuple(categories[row] for row in best), not vector.any()))
    return found


def dense_alone(
    products: Sequence[Product], questions: Sequence[Question], student: Encoder, teacher: Encoder
) -> dict[str, list[Outcome]]:
    settings = QueryEncoderSettings()
    texts = [product_text(product) for product in products]
    categories = [CATEGORY_SEPARATOR.join(product.category_path) for product in products]
    by_teacher, by_student = (
        encoder.encode(texts, settings.max_product_tokens, "product") for encoder in (teacher, student)
    )
    rendered = renderings(questions, configured_graph())
    queries = [normalise(question.query) for question in questions]
    joined = [f"{text} {english}".strip() for text, english in zip(queries, rendered, strict=True)]
    limit = settings.max_query_tokens
    return {
        RENDERED: nearest(teacher.encode(rendered, limit, "query"), by_teacher, categories),
        STUDENT: nearest(student.encode(queries, limit, "query"), by_student, categories),
        JOINED: nearest(student.encode(joined, limit, "query"), by_student, categories),
    }


def whole_product(
    file: Path, questions: Sequence[Question], student: QueryEncoderSettings, folder: Path
) -> dict[str, list[Outcome]]:
    """Search, with both encoders, each with and without the graph."""
    empty = folder / "no_concepts.yaml"
    empty.write_text("{}\n")
    chosen = {"model_dir": student.model_dir, "model_version": student.model_version}
    found: dict[str, list[Outcome]] = {}
    for name, encoder in ((EMBEDDED, {}), (WITH_STUDENT, chosen)):
        state = folder / name.split()[0]
        with in_process_suite(state, encoder=encoder) as suite:
            import_file(suite, file)
        for row, graph in ((_GRAPH, {}), (_NO_GRAPH, {"concepts_file": empty})):
            with in_process_suite(state, encoder=encoder | graph) as suite:
                found[name + row] = ask(suite, questions, name + row)
    return found


def english(
    products: Path, mapping: str, judgements: Path, student: Encoder, teacher: Encoder, seed: int
) -> dict[str, float | list[float]]:
    sample = draw(
        read_catalogue(products, mapping), read_judgements(judgements), _ENGLISH_QUERIES, _ENGLISH_PRODUCTS, 0, seed
    )
    ours, theirs = (measure_dense(encoder, sample) for encoder in (student, teacher))
    share, low, high = relative_interval(ours, theirs, seed)
    return {
        "queries": len(sample.judgements), "products": len(sample.products), "teacher": round(float(theirs.mean()), 4),
        "student": round(float(ours.mean()), 4), "change": [round(value, 4) for value in (share, low, high)],
    }  # fmt: skip


def configured_graph() -> ConceptGraph:
    settings = QueryEncoderSettings()
    return load_domain(settings.domain_dir, settings.concepts_file, settings.extra_concepts_file).graph


def by_kind(questions: Sequence[Question], outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, dict[str, float]]:
    """Figures of all queries, and hit@10 of each group: labels of the graph, other queries, removed labels."""
    graph, whole = configured_graph(), embedded_domain().graph
    rendered = zip(renderings(questions, graph), renderings(questions, whole), strict=True)
    groups = {
        "labels": [chinese_key(question.query) in graph.by_chinese for question in questions],
        "others": [chinese_key(question.query) not in graph.by_chinese for question in questions],
        "removed": [one != other for one, other in rendered],
    }
    result = {}
    for name, found in outcomes.items():
        row = figures(questions, found)
        for group, members in groups.items():
            rows = [(q, o) for q, o, member in zip(questions, found, members, strict=True) if member]
            row[group] = len(rows)
            row[f"hit@10 of {group}"] = round(sum(o.right(q) > 0 for q, o in rows) / max(1, len(rows)), 4)
        result[name] = row
    return result


def report(results: Mapping[str, Mapping[str, Mapping[str, float]]], queries: int) -> Table:
    table = Table(title=f"{queries} Chinese and code-mixed queries over English titles")
    columns = ("hit@10", *(f"hit@10 of {group}" for group in GROUPS), "first right", "precision@10", "unknown language")
    for heading in ("", *columns):
        table.add_column(heading, justify="right" if heading else "left")
    for part, rows in results.items():
        table.add_section()
        for name, row in rows.items():
            table.add_row(f"{part}: {name}", *(f"{row[column]:.1%}" for column in columns))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", type=Path, help="folder of `python -m training.bilingual`")
    parser.add_argument("--out", type=Path, help="the JSON file")
    parser.add_argument("--remove", type=float, default=0.0, help="share of Chinese labels that --graph does not have")
    parser.add_argument("--graph", type=Path, help="the file of the graph to write")
    parser.add_argument("--queries", type=Path, default=QUERIES)
    parser.add_argument("--products", type=Path, help="of a shop with judgements, to measure English")
    parser.add_argument("--judgements", type=Path)
    parser.add_argument("--map", default="id=product_uid,title=product_title", help="as for `kairos catalog import`")
    parser.add_argument("--seed", type=int, default=7, help="of the demo shop")
    parser.add_argument("--dense-alone", action="store_true", help="skip the whole product")
    arguments = parser.parse_args()
    if arguments.graph:
        graph = without_labels(embedded_domain().graph, arguments.remove, arguments.seed)
        arguments.graph.write_text(yaml.safe_dump(graph, allow_unicode=True), encoding="utf-8")
        return 0
    if not (arguments.student and arguments.out):
        parser.error("give --student and --out, or --remove and --graph")
    chosen = QueryEncoderSettings(model_dir=arguments.student, model_version="bilingual@benchmark")
    student, teacher = build_encoder(chosen, threads=1), build_encoder(QueryEncoderSettings(), threads=1)
    questions = [question for question in read_questions(arguments.queries) if question.catalogue != DEMO]
    shop = english_only(build_catalogue(arguments.seed))
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="kairos-student-") as name:
        folder = Path(name)
        file = written(shop, folder)
        alone = dense_alone(read_catalogue(file), questions, student, teacher)
        results["dense alone"] = by_kind(questions, alone)
        if not arguments.dense_alone:
            results["whole product"] = by_kind(questions, whole_product(file, questions, chosen, folder))
    Console().print(report(results, len(questions)))
    summary: dict[str, object] = {"queries": len(questions), "seed": arguments.seed, "figures": results}
    if arguments.products and arguments.judgements:
        found = english(arguments.products, arguments.map, arguments.judgements, student, teacher, arguments.seed)
        print(f"English, by vectors alone, NDCG@10: {found}")
        summary["english"] = found
    arguments.out.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
