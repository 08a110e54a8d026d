"""Whether a search says that it has no good match: it should for queries of another shop, and not for the shop's own.

    python -m benchmarks.abstention --products P.csv.gz --map id=upc,title=name --shop electronics --out R.json

`data/abstention.csv` (or --queries): shop, kind (own or foreign), query, half. Own queries have an answer in the shop,
foreign ones have none; both were written by hand and checked against the titles. Only the half "development" was used
to choose anything. --judgements adds own queries: a sample of those with a product of relevance 2.33 or more.

R.json keeps each query's evidence, from which `benchmarks.relevance_weights` fits the weights. The work folder and
R.json keep what is finished: the same command continues.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import grpc
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.results import Results
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from ops.in_process import InProcessSuite, in_process_suite
from training.search.data import read_judgements
from training.search.train import import_products

QUERIES = Path(__file__).parent / "data" / "abstention.csv"
KINDS = OWN, FOREIGN = ("own", "foreign")
HALVES = ("development", "held-out")
_COLUMNS = ("shop", "kind", "query", "half")
_SAMPLE, _SEED, _RELEVANT = 400, 0, 2.33
_TIMEOUT_S = 60.0
_PAGE_SIZE = 10
# The 97.5 % quantile of the normal distribution.
_Z = 1.96


def read_queries(path: Path, shop: str, half: str | None = None) -> dict[str, str]:
    """The kind of each query of a shop, of one half or of both.

    Raises ValueError with the line for a missing column, an unknown kind or half, and an empty or repeated query.
    """
    kinds = dict[str, str]()
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if missing := [column for column in _COLUMNS if column not in (reader.fieldnames or ())]:
            raise ValueError(f"{path} has no column {missing[0]!r}; it needs {', '.join(_COLUMNS)}")
        seen = set[tuple[str, str]]()
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            for column, known in (("kind", KINDS), ("half", HALVES)):
                if row[column] not in known:
                    raise ValueError(f"{where}: {column} is {row[column]!r}; write {' or '.join(known)}")
            if not row["query"] or (row["shop"], row["query"]) in seen:
                raise ValueError(f"{where}: query {row['query']!r} is empty or repeated; write each once")
            seen.add((row["shop"], row["query"]))
            if row["shop"] == shop and half in (None, row["half"]):
                kinds[row["query"]] = row["kind"]
    return kinds


def judged_queries(path: Path, count: int = _SAMPLE) -> list[str]:
    """A sample, always the same, of the queries that have a relevant product."""
    judgements = read_judgements(path)
    answered = sorted(query for query, products in judgements.items() if max(products.values()) >= _RELEVANT)
    return Random(_SEED).sample(answered, min(count, len(answered)))


def share(flags: Sequence[bool]) -> dict[str, Any]:
    """The share of true ones, with Wilson's 95 % interval."""
    n, mean = len(flags), sum(flags) / len(flags)
    centre, spread = mean + _Z**2 / (2 * n), _Z * math.sqrt(mean * (1 - mean) / n + (_Z / (2 * n)) ** 2)
    interval = [round((centre + sign * spread) / (1 + _Z**2 / n), 4) for sign in (-1, 1)]
    return {"value": round(mean, 4), "interval_95": interval, "queries": n}


def answers_of(suite: InProcessSuite, queries: Iterable[str]) -> dict[str, dict[str, Any]]:
    """By query. Raises RuntimeError if a stage was late or failed."""
    answers = dict[str, dict[str, Any]]()
    with grpc.insecure_channel(suite.gateway_target, [("grpc.max_receive_message_length", 16 << 20)]) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        for query in tqdm(list(queries), desc="Search"):
            request = gateway_pb2.SearchRequest(query=query, page_size=_PAGE_SIZE, explain=True)
            answer = stub.Search(request, timeout=_TIMEOUT_S)
            if any(degradation.fallback != "lexical retrieval" for degradation in answer.degradations):
                raise RuntimeError(f"{query!r}: {answer.degradations}")
            evidence = {field.name: getattr(answer.relevance_evidence, field.name) for field in _EVIDENCE}
            answers[query] = {
                "relevance": round(answer.relevance, 4),
                "reason": retrieval_pb2.NoGoodMatchReason.Name(answer.no_good_match.reason),
                "missing": list(answer.missing_words),
                "evidence": {name: round(value, 5) for name, value in evidence.items()},
                "text": answer.no_good_match.text,
                "first": [result.product.title for result in answer.results[:1]],
            }
    return answers


_EVIDENCE = retrieval_pb2.RelevanceEvidence.DESCRIPTOR.fields
_GOOD = retrieval_pb2.NoGoodMatchReason.Name(retrieval_pb2.NO_GOOD_MATCH_REASON_UNSPECIFIED)


def is_flagged(answer: Mapping[str, Any]) -> bool:
    """Whether it has `no_good_match`."""
    return bool(answer["reason"] != _GOOD)


def figures_of(kinds: Mapping[str, str], answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """By kind the share of queries with `no_good_match`."""
    by_kind = {kind: [is_flagged(answers[query]) for query, each in kinds.items() if each == kind] for kind in KINDS}
    return {kind: share(flags) for kind, flags in by_kind.items() if flags}


def _show_errors(kinds: Mapping[str, str], answers: Mapping[str, Mapping[str, Any]]) -> None:
    for query, kind in kinds.items():
        answer = answers[query]
        if is_flagged(answer) == (kind == OWN):
            print(f"{kind:8} {answer['relevance']:.2f} {query}: {answer['text'] or answer['first']}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--map", default="", help="as for `kairos catalog import`")
    parser.add_argument("--shop", required=True, help="the shop of the queries")
    parser.add_argument("--queries", type=Path, default=QUERIES, help="shop, kind, query, half")
    parser.add_argument("--judgements", type=Path, help="search_term, product_uid, relevance: more own queries")
    parser.add_argument("--half", choices=HALVES, help="of the queries; without it both")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--work", type=Path, help="the folder of the suite's state; without it beside the JSON file")
    parser.add_argument("--show", action="store_true", help="print the queries that are wrong")
    arguments = parser.parse_args()
    kinds = read_queries(arguments.queries, arguments.shop, arguments.half)
    if arguments.judgements is not None:
        kinds |= dict.fromkeys(judged_queries(arguments.judgements), OWN)
    if not kinds:
        parser.error(f"{arguments.queries} has no query of the shop {arguments.shop!r}")
    folder = (arguments.work or arguments.out.with_suffix("")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.blake2b(repr(sorted(kinds.items())).encode(), digest_size=6).hexdigest()
    options = {"products": str(arguments.products), "map": arguments.map, "shop": arguments.shop}
    results = Results(arguments.out, options | {"half": arguments.half, "queries": digest, "work": str(folder)})
    with in_process_suite(folder) as suite:
        results.part("import", lambda: import_products(suite, arguments.products, arguments.map, folder))
        answers = results.part("answers", lambda: answers_of(suite, kinds))
    results.part("kinds", lambda: kinds)
    figures = results.part("figures", lambda: figures_of(kinds, answers))
    if arguments.show:
        _show_errors(kinds, answers)
    table = Table(title=f"no_good_match: {arguments.shop}")
    for heading in ("queries", "", "share", "95 %"):
        table.add_column(heading, justify="right" if heading else "left")
    for kind, of in figures.items():
        table.add_row(kind, str(of["queries"]), f"{of['value']:.3f}", "{:.3f} to {:.3f}".format(*of["interval_95"]))
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
