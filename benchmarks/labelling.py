"""Do suggested labels help more than random ones? Accuracy on queries held back, by the number of labels given.

    python -m benchmarks.labelling --out R.json [--utterances FAQ.csv.gz --searches J.csv.gz --chinese FAQ.tsv.gz]

Each round trains from the catalogue and the labels so far, and asks for more: as `kairos label suggest` chooses, or at
random among the same queries, those that no rule answers. Category: words of descriptions, which the queries that are
made of a catalogue do not hold. Intent, where its data are given: customers' questions and searches, mixed. The answer
is that of the data set. Fewer queries are made than for a shop, so that all rounds of all seeds take minutes.
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
    Asked,
    demo_products,
    figures,
    of_descriptions,
    outside,
    split_products,
    with_rules,
)
from services.query_encoder.bulk_reading import ReadQuery
from services.query_encoder.domain.labelling import most_helpful, questions
from services.query_encoder.domain.lexicon import Lexicon, learn
from services.query_encoder.domain.understanding import Understander
from services.query_encoder.domain.understanding_network import CATEGORY, INTENT
from services.query_encoder.domain.understanding_rules import FIND, ORDER
from services.query_encoder.settings import QueryEncoderSettings
from training.understanding.__main__ import Shop, made_queries, open_shop
from training.understanding.labels import example_of
from training.understanding.queries import TEMPLATES
from training.understanding.train import Examples, UnderstandingTraining, train_network

SUGGESTED, RANDOM = "suggested", "random"
BUDGETS = (0, 25, 50, 100)
# Of each source, for the pool and for the test.
_EACH = 300
_LABEL_WEIGHT = 10.0


@dataclass(frozen=True)
class Task:
    """What is asked of a head: queries that may be labelled, and queries that measure."""

    head: str
    pool: list[Asked]
    pool_read: list[ReadQuery]
    test: list[Asked]
    test_read: list[ReadQuery]

    @classmethod
    def of(cls, head: str, pool: list[Asked], test: list[Asked], shop: Shop) -> Task:
        read = (list(shop.reader.read([query.text for query in part])) for part in (pool, test))
        return cls(head, pool, next(read), test, next(read))

    def answer(self, row: int) -> str:
        asked = self.pool[row]
        return asked.intent if self.head == INTENT else (asked.category or ("",))[0]


def curve(
    task: Task, shop: Shop, made: Examples, lexicon: Lexicon, way: str, settings: UnderstandingTraining
) -> list[float]:
    """Accuracy at each of BUDGETS."""
    random, given, scores = Random(settings.seed), list[int](), list[float]()
    for budget, more in zip(BUDGETS, [*np.diff(BUDGETS).tolist(), 0], strict=True):
        examples = [
            example_of(task.pool[row].text, [(task.head, task.answer(row))], shop.labels.category, _LABEL_WEIGHT)
            for row in given
        ]
        labelled = Examples.of(examples, [task.pool_read[row] for row in given], shop.labels, shop.dimensions)
        network, labels = train_network(made + labelled if budget else made, shop.labels, settings, quiet=True)
        understander = Understander(network, labels, shop.graph)
        scores.append(figures(task.test, with_rules(understander, lexicon)(task.test_read))[task.head])
        given += chosen(task, understander, given, more, way, random)
    return scores


def chosen(
    task: Task, understander: Understander, given: Sequence[int], count: int, way: str, random: Random
) -> list[int]:
    """Rows of the pool."""
    taken, by_query = set(given), {query.reading.normal: row for row, query in enumerate(task.pool_read)}
    asked = [
        question
        for query in task.pool_read
        if by_query[query.reading.normal] not in taken
        for question in questions(understander, query.reading, query.vector, 1, [task.head])
    ]
    if way == RANDOM:
        return [by_query[question.query] for question in random.sample(asked, min(count, len(asked)))]
    known = [understander.features(task.pool_read[row].reading, task.pool_read[row].vector) for row in given]
    return [by_query[choice.question.query] for choice in most_helpful(asked, count, {task.head: known})]


def intent_task(arguments: argparse.Namespace, shop: Shop) -> Task | None:
    random = Random(0)
    sources = [
        outside(arguments.utterances, "instruction", ORDER, "en", random),
        outside(arguments.searches, "search_term", FIND, "en", random),
        outside(arguments.chinese, "", ORDER, "zh", random),
    ]
    pool = [query for source in sources for query in source[:_EACH]]
    test = [query for source in sources for query in source[_EACH : 2 * _EACH]]
    return Task.of(INTENT, pool, test, shop) if pool else None


def report(name: str, by_way: dict[str, list[list[float]]]) -> tuple[Table, dict[str, Any]]:
    table = Table("labels", *map(str, BUDGETS), title=f"{name}: accuracy, mean of {len(by_way[RANDOM])} seeds")
    means = {way: np.mean(runs, axis=0).round(4).tolist() for way, runs in by_way.items()}
    for way, row in means.items():
        table.add_row(way, *(f"{value:.3f}" for value in row))
    gaps = np.array(by_way[SUGGESTED]) - np.array(by_way[RANDOM])
    table.add_row(
        "difference", *(f"{mean:+.3f} ± {error:.3f}" for mean, error in zip(gaps.mean(0), _error(gaps), strict=True))
    )
    return table, {"runs": by_way, "means": means, "difference": gaps.mean(0).round(4).tolist(), "error": _error(gaps)}


def _error(gaps: np.ndarray[Any, Any]) -> list[float]:
    """Standard error of the mean over the seeds."""
    errors: list[float] = (gaps.std(0, ddof=min(1, len(gaps) - 1)) / np.sqrt(len(gaps))).round(4).tolist()
    return errors


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    for name in ("--utterances", "--searches", "--chinese"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--made", type=int, default=3_000, help="queries to train on beside the labels")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    learned_from, held = split_products(demo_products(7))
    shop = open_shop(learned_from, QueryEncoderSettings(), arguments.threads)
    lexicon = Lexicon()
    lexicon.add(learn(learned_from), 1)
    tasks = [
        Task.of(
            CATEGORY, of_descriptions(learned_from, Random(0))[: 3 * _EACH], of_descriptions(held, Random(1)), shop
        ),
        intent_task(arguments, shop),
    ]
    results: dict[str, Any] = {"budgets": BUDGETS, "made": arguments.made, "label_weight": _LABEL_WEIGHT}
    made_by_seed = [
        shop.features(made_queries(shop, TEMPLATES, arguments.made, seed)) for seed in range(arguments.seeds)
    ]
    for task in filter(None, tasks):
        by_way: dict[str, list[list[float]]] = {SUGGESTED: [], RANDOM: []}
        for seed, made in enumerate(tqdm(made_by_seed, desc=task.head, unit=" seeds")):
            settings = replace(UnderstandingTraining(), seed=seed, epochs=14)
            for way, runs in by_way.items():
                runs.append(curve(task, shop, made, lexicon, way, settings))
        table, results[task.head] = report(task.head, by_way)
        results[task.head] |= {"pool": len(task.pool), "test": len(task.test)}
        Console(width=120).print(table)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
