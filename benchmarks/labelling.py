"""Active learning: accuracy by the number of labels, for labels suggested by `kairos label suggest` and random labels.

    python -m benchmarks.labelling --out R.json [--utterances FAQ.csv.gz --searches J.csv.gz --chinese FAQ.tsv.gz]

Each round trains on the catalogue and the labels so far, and then selects further queries: as `kairos label suggest`
does, or at random, in both cases among the queries that no rule answers. Category: words of descriptions, which
generated queries do not contain. Intent, if its data are given: a mixture of customers' questions and searches. The
labels are those of the data set. Fewer queries are generated than for a shop, so that all rounds take minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.understanding import (
    TestQuery,
    demo_products,
    figures,
    of_descriptions,
    public_queries,
    split_products,
    with_rules,
)
from services.query_encoder.bulk_reading import ReadQuery
from services.query_encoder.domain.labelling import most_helpful, questions
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.understanding import Understander
from services.query_encoder.domain.understanding_network import CATEGORY, INTENT
from services.query_encoder.domain.understanding_rules import FIND, ORDER
from services.query_encoder.settings import QueryEncoderSettings
from training.understanding.labels import example_of
from training.understanding.queries import TEMPLATES
from training.understanding.settings import UnderstandingTraining
from training.understanding.shop import Shop, generated_queries, open_shop
from training.understanding.train import Examples, train_network

SUGGESTED, RANDOM = "suggested", "random"
BUDGETS = (0, 25, 50, 100)
# Queries of each source, for the pool and for the test.
_PER_SOURCE = 300
_LABEL_WEIGHT = 10.0


@dataclass(frozen=True)
class Task:
    """One head: a pool of queries that may be labelled, and test queries."""

    head: str
    pool: list[TestQuery]
    pool_read: list[ReadQuery]
    test: list[TestQuery]
    test_read: list[ReadQuery]

    @classmethod
    def of(cls, head: str, pool: list[TestQuery], test: list[TestQuery], shop: Shop) -> Task:
        read = (list(shop.reader.read([query.text for query in part])) for part in (pool, test))
        return cls(head, pool, next(read), test, next(read))

    def label(self, row: int) -> str:
        query = self.pool[row]
        return query.intent if self.head == INTENT else (query.category or ("",))[0]


def curve(
    task: Task, shop: Shop, generated: Examples, lexicon: Lexicon, selection: str, settings: UnderstandingTraining
) -> list[float]:
    """Accuracy at each of BUDGETS."""
    random, rows, scores = Random(settings.seed), list[int](), list[float]()
    for budget, more in zip(BUDGETS, [*np.diff(BUDGETS).tolist(), 0], strict=True):
        examples = [
            example_of(task.pool[row].text, [(task.head, task.label(row))], shop.labels.category, _LABEL_WEIGHT)
            for row in rows
        ]
        labelled = Examples.of(examples, [task.pool_read[row] for row in rows], shop.labels, shop.dimensions)
        data = generated + labelled if budget else generated
        network, labels = train_network(data, shop.labels, settings, quiet=True)
        understander = Understander(network, labels, shop.domain.graph, shop.domain.rules)
        scores.append(figures(task.test, with_rules(understander, lexicon)(task.test_read))[task.head])
        rows += selected(task, understander, rows, more, selection, random)
    return scores


def selected(
    task: Task, understander: Understander, labelled: Sequence[int], count: int, selection: str, random: Random
) -> list[int]:
    """Rows of the pool to label next."""
    taken, by_query = set(labelled), {query.reading.normal: row for row, query in enumerate(task.pool_read)}
    open_questions = [
        question
        for query in task.pool_read
        if by_query[query.reading.normal] not in taken
        for question in questions(understander, query.reading, query.vector, 1, [task.head])
    ]
    if selection == RANDOM:
        drawn = random.sample(open_questions, min(count, len(open_questions)))
        return [by_query[question.query] for question in drawn]
    known = [understander.features(task.pool_read[row].reading, task.pool_read[row].vector) for row in labelled]
    return [by_query[choice.question.query] for choice in most_helpful(open_questions, count, {task.head: known})]


def intent_task(arguments: argparse.Namespace, shop: Shop) -> Task | None:
    random = Random(0)
    sources = [
        public_queries(arguments.utterances, "instruction", ORDER, "en", random),
        public_queries(arguments.searches, "search_term", FIND, "en", random),
        public_queries(arguments.chinese, "", ORDER, "zh", random),
    ]
    pool = [query for source in sources for query in source[:_PER_SOURCE]]
    test = [query for source in sources for query in source[_PER_SOURCE : 2 * _PER_SOURCE]]
    return Task.of(INTENT, pool, test, shop) if pool else None


def report(name: str, by_selection: dict[str, list[list[float]]]) -> tuple[Table, dict[str, Any]]:
    table = Table("labels", *map(str, BUDGETS), title=f"{name}: accuracy, mean of {len(by_selection[RANDOM])} seeds")
    means = {selection: np.mean(runs, axis=0).round(4).tolist() for selection, runs in by_selection.items()}
    for selection, row in means.items():
        table.add_row(selection, *(f"{value:.3f}" for value in row))
    gaps = np.array(by_selection[SUGGESTED]) - np.array(by_selection[RANDOM])
    table.add_row(
        "difference", *(f"{mean:+.3f} ± {error:.3f}" for mean, error in zip(gaps.mean(0), _error(gaps), strict=True))
    )
    difference = gaps.mean(0).round(4).tolist()
    return table, {"runs": by_selection, "means": means, "difference": difference, "error": _error(gaps)}


def _error(gaps: np.ndarray[Any, Any]) -> list[float]:
    """Standard error of the mean over the seeds."""
    errors: list[float] = (gaps.std(0, ddof=min(1, len(gaps) - 1)) / np.sqrt(len(gaps))).round(4).tolist()
    return errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    for name in ("--utterances", "--searches", "--chinese"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--generated", type=int, default=3_000, help="generated queries to train on")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train_products, held = split_products(demo_products(7))
    shop = open_shop(train_products, QueryEncoderSettings(), arguments.threads)
    lexicon = Lexicon.of(train_products)
    pool = of_descriptions(train_products, Random(0))[: 3 * _PER_SOURCE]
    tasks = [
        Task.of(CATEGORY, pool, of_descriptions(held, Random(1)), shop),
        intent_task(arguments, shop),
    ]
    results: dict[str, Any] = {"budgets": BUDGETS, "generated": arguments.generated, "label_weight": _LABEL_WEIGHT}
    by_seed = [
        shop.features(generated_queries(shop, TEMPLATES, arguments.generated, seed)) for seed in range(arguments.seeds)
    ]
    for task in filter(None, tasks):
        by_selection: dict[str, list[list[float]]] = {SUGGESTED: [], RANDOM: []}
        for seed, generated in enumerate(tqdm(by_seed, desc=task.head, unit=" seeds")):
            settings = replace(UnderstandingTraining(), seed=seed, epochs=14)
            for selection, runs in by_selection.items():
                runs.append(curve(task, shop, generated, lexicon, selection, settings))
        table, results[task.head] = report(task.head, by_selection)
        results[task.head] |= {"pool": len(task.pool), "test": len(task.test)}
        Console(width=120).print(table)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
