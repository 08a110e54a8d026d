"""Query understanding: intent, category, sentiment and tags of held-out queries.

    python -m benchmarks.understanding --out R.json [--utterances F.csv.gz] [--searches J.csv.gz] [--chinese F.tsv.gz]

Training uses the demo shop alone, without the held-out products. Test sets: queries generated from the held-out
products; words of their descriptions; `data/understanding.csv` (or --queries), written by hand; and, optionally, public
data: customers' questions about orders and accounts (column `instruction`), searches of another shop (column
`search_term`), Chinese customers' questions to a payment service (first column, tab-separated). Baselines: the
majority, the rules alone, the nearest centroid of the training queries' vectors, the network without rules or without
n-grams.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from catalog.products import read_catalogue
from demo.catalogue import build_catalogue, write_catalogue
from services.common.arrays import unit_rows
from services.common.product import Product
from services.query_encoder.bulk_reading import ReadQuery
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.text import normal_form
from services.query_encoder.domain.understanding import Source, Understander, Understanding
from services.query_encoder.domain.understanding_rules import (
    FIND,
    INTENTS,
    NEUTRAL,
    ORDER,
)
from services.query_encoder.settings import QueryEncoderSettings
from training.understanding.queries import TEMPLATES, Example, QueryGenerator, read_templates
from training.understanding.settings import UnderstandingTraining
from training.understanding.shop import Shop, generated_queries, open_shop
from training.understanding.train import Examples, train_network

QUERIES = Path(__file__).parent / "data" / "understanding.csv"
_HELD_OUT = 0.2
_GENERATED = 1_500
_PUBLIC = 2_000
_ROUNDS = 5


@dataclass(frozen=True)
class TestQuery:
    """A query with its labels. `category`: the right paths, "" if the query names none; None: unknown."""

    text: str
    language: str
    intent: str = ""
    category: tuple[str, ...] | None = None
    sentiment: str = ""
    tags: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Answer:
    """`category`: the most probable one, "" for none. `reported`: the category of the product, None if unsure."""

    intent: str
    category: str = ""
    reported: str | None = None
    sentiment: str = NEUTRAL
    tags: frozenset[tuple[str, str]] = frozenset()


Answerer = Callable[[Sequence[ReadQuery]], list[Answer]]


def read_queries(path: Path) -> list[TestQuery]:
    """Raises ValueError for an unknown intent."""
    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["intent"] not in INTENTS:
                raise ValueError(f"{path}: {row['query']!r}: intent {row['intent']!r} is none of {', '.join(INTENTS)}")
            tags = (entry.partition("=") for entry in row["tags"].split(";") if entry)
            found.append(
                TestQuery(row["query"], row["language"], row["intent"], tuple(row["category"].split("|")),
                          row["sentiment"], frozenset((name, value) for name, _, value in tags))
            )  # fmt: skip
    return found


def public_queries(path: Path | None, column: str, intent: str, language: str, random: Random) -> list[TestQuery]:
    """A random sample of the distinct texts of a column; of a tab-separated file, the first column."""
    if path is None:
        return []
    with io.TextIOWrapper(gzip.open(path), encoding="utf-8", newline="") as file:
        if path.name.endswith(".tsv.gz"):
            texts = [line.split("\t")[0] for line in file]
        else:
            texts = [row[column] for row in csv.DictReader(file)]
    unique = sorted({normal for text in texts if (normal := normal_form(text))})
    chosen = random.sample(unique, min(_PUBLIC, len(unique)))
    return [TestQuery(text, language, intent) for text in chosen]


def demo_products(seed: int) -> list[Product]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "catalogue.jsonl.gz"
        write_catalogue(path, build_catalogue(seed))
        return read_catalogue(path)


def split_products(products: Sequence[Product]) -> tuple[list[Product], list[Product]]:
    """(training, held out). By brand and model, so that no variant of a held-out product is in training."""
    held = [zlib.crc32(" ".join(product.title.split()[:3]).encode()) % 100 < 100 * _HELD_OUT for product in products]
    pairs = list(zip(products, held, strict=True))
    return [product for product, is_held in pairs if not is_held], [product for product, is_held in pairs if is_held]


def of_held_out(products: Sequence[Product], shop: Shop, seed: int) -> list[TestQuery]:
    generator = QueryGenerator(products, shop.domain.graph, read_templates(TEMPLATES), shop.labels.tags, seed)
    found = (example for example in generator.examples(4 * _GENERATED) if example.intent == FIND and example.categories)
    unique = {example.text: example for example in found if example.text and len(example.categories or ()) == 1}
    return [TestQuery(e.text, "", FIND, e.categories) for e in list(unique.values())[:_GENERATED]]


def of_descriptions(products: Sequence[Product], random: Random) -> list[TestQuery]:
    """Three to five consecutive words of each description after its first sentence; the queries in random order."""
    found = {}
    for product in products:
        words = normal_form(product.description.partition(". ")[2].replace(".", " ")).split()
        if len(words) >= 5:
            start, size = random.randrange(len(words) - 4), random.choice((3, 4, 5))
            text = " ".join(words[start : start + size])
            found[text] = TestQuery(text, "en", FIND, (product.category,))
    return random.sample(list(found.values()), len(found))


def trained(shop: Shop, data: Examples, settings: UnderstandingTraining) -> Understander:
    network, labels = train_network(data, shop.labels, settings)
    return Understander(network, labels, shop.domain.graph, shop.domain.rules)


def network_alone(understander: Understander) -> Answerer:
    labels = understander.labels

    def answer(read: Sequence[ReadQuery]) -> list[Answer]:
        found = []
        for query in read:
            by_head = understander.probabilities(query.reading, query.vector)
            best = {head: int(by_head[head].argmax()) for head in ("intent", "category", "sentiment")}
            found.append(
                Answer(labels.intent[best["intent"]], labels.category[best["category"]], None,
                       labels.sentiment[best["sentiment"]])
            )  # fmt: skip
        return found

    return answer


def with_rules(understander: Understander, lexicon: Lexicon) -> Answerer:
    """The served combination."""
    network = network_alone(understander)

    def answer(read: Sequence[ReadQuery]) -> list[Answer]:
        found = []
        for query, alone in zip(read, network(read), strict=True):
            served = understander.understand(query.reading, query.vector, lexicon)
            category = understander.category_by_rule(query.reading) or alone.category
            found.append(
                Answer(served.intent.value, category, served.category.value if served.category else None,
                       served.sentiment.value, _tags(served))
            )  # fmt: skip
        return found

    return answer


def rules_alone(understander: Understander) -> Answerer:
    """Without an applicable rule: intent find, no category, neutral."""

    def answer(read: Sequence[ReadQuery]) -> list[Answer]:
        return [
            Answer(
                understander.rules.intent(query.reading) or FIND,
                category := understander.category_by_rule(query.reading),
                category or None,
                understander.rules.sentiment(query.reading.normal) or NEUTRAL,
                frozenset((tag.name, tag.value) for tag in understander.tags_by_rule(query.reading)),
            )
            for query in read
        ]

    return answer


def majority(examples: Sequence[Example]) -> Answerer:
    intent = Counter(example.intent for example in examples).most_common(1)[0][0] or FIND
    category = Counter(e.categories[0] for e in examples if e.categories).most_common(1)[0][0]
    return lambda read: [Answer(intent, category, category) for _ in read]


def nearest_centroid(data: Examples, shop: Shop) -> Answerer:
    """Centroids of the training queries' vectors by label; a query without a vector gets the first label."""
    labels = shop.labels

    def centroids(of: Sequence[np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        zeros = np.zeros(shop.dimensions, np.float32)
        return unit_rows(np.stack([data.vectors[part].mean(0) if part.any() else zeros for part in of]))

    intents = centroids([data.intent == column for column in range(len(labels.intent))])
    categories = centroids([data.category[:, column] == 1 for column in range(len(labels.category))])
    sentiments = centroids([data.sentiment == column for column in range(len(labels.sentiment))])

    def answer(read: Sequence[ReadQuery]) -> list[Answer]:
        found = []
        for query in read:
            vector = np.zeros(shop.dimensions) if query.vector is None else query.vector
            best = [int((rows @ vector).argmax()) for rows in (intents, categories, sentiments)]
            category = labels.category[best[1]]
            found.append(Answer(labels.intent[best[0]], category, category or None, labels.sentiment[best[2]]))
        return found

    return answer


def figures(queries: Sequence[TestQuery], answers: Sequence[Answer]) -> dict[str, float]:
    """Accuracies over the queries with a known label; tags as F1 over all queries.

    "category reported": share of queries that name a category for which the product reports one; "precision of
    reported": share of right ones among them; "none reported": share of queries without a category for which none is
    reported.
    """
    pairs = list(zip(queries, answers, strict=True))
    intents = [answer.intent == query.intent for query, answer in pairs if query.intent]
    named = [(query, answer) for query, answer in pairs if query.category and any(query.category)]
    reported = [(query, answer) for query, answer in named if answer.reported is not None]
    sentiments = [answer.sentiment == query.sentiment for query, answer in pairs if query.sentiment]
    found = {"queries": float(len(queries)), "intent": _mean(intents)}
    if named:
        found["category"] = _mean([answer.category.startswith(query.category or ()) for query, answer in named])
        found["category reported"] = len(reported) / len(named)
        found["precision of reported"] = _mean(
            [_is_right(query.category or (), answer.reported or "") for query, answer in reported]
        )
    unnamed = [answer.reported is None for query, answer in pairs if query.category and not any(query.category)]
    if unnamed:
        found["none reported"] = _mean(unnamed)
    if sentiments:
        found["sentiment"] = _mean(sentiments)
        found["sentiment F1"] = _macro_f1([(query.sentiment, answer.sentiment) for query, answer in pairs])
        right = sum(len(query.tags & answer.tags) for query, answer in pairs)
        total = sum(len(query.tags) + len(answer.tags) for query, answer in pairs)
        found["tags F1"] = 2 * right / total if total else 0.0
    return {name: round(value, 4) for name, value in found.items()}


def latency(understander: Understander, read: Sequence[ReadQuery], lexicon: Lexicon) -> dict[str, float]:
    """Milliseconds of CPU per query, which other load disturbs less: in total, and of the network with its features."""
    whole, network = [], []
    for _ in range(_ROUNDS):
        for query in read:
            began = time.thread_time()
            understander.understand(query.reading, query.vector, lexicon)
            middle = time.thread_time()
            understander.probabilities(query.reading, query.vector)
            whole.append(middle - began)
            network.append(time.thread_time() - middle)
    return {
        name: round(float(np.percentile(times, share)) * 1e3, 4)
        for name, times, share in (("p50", whole, 50), ("p99", whole, 99), ("network p50", network, 50))
    }


def _is_right(paths: Sequence[str], found: str) -> bool:
    """The category itself, one below it, or one above it."""
    return any(path == found or path.startswith(f"{found} > ") or found.startswith(f"{path} > ") for path in paths)


def _tags(understanding: Understanding) -> frozenset[tuple[str, str]]:
    return frozenset((tag.name, tag.value) for tag in understanding.tags)


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else 0.0


def _macro_f1(pairs: Sequence[tuple[str, str]]) -> float:
    scores = []
    for label in {right for right, _ in pairs}:
        hits = sum(right == found == label for right, found in pairs)
        scores.append(
            2 * hits / (sum(right == label for right, _ in pairs) + sum(found == label for _, found in pairs))
        )
    return sum(scores) / len(scores)


def report(title: str, rows: Mapping[str, Mapping[str, float]]) -> Table:
    names = list(dict.fromkeys(name for row in rows.values() for name in row if name != "queries"))
    queries = next(iter(rows.values()))["queries"]
    table = Table("", *names, title=f"{title} ({queries:.0f} queries)")
    for system, row in rows.items():
        table.add_row(system, *(f"{row[name]:.3f}" if name in row else "" for name in names))
    return table


def sets_of(
    arguments: argparse.Namespace, held: Sequence[Product], shop: Shop
) -> Iterator[tuple[str, list[TestQuery]]]:
    random = Random(arguments.seed)
    yield "held-out products", of_held_out(held, shop, arguments.seed + 1)
    yield "descriptions of held-out products", of_descriptions(held, random)
    written = read_queries(arguments.queries)
    yield "written by hand", written
    for language in ("en", "zh"):
        yield f"written by hand, {language}", [query for query in written if query.language == language]
    yield "customers' questions", public_queries(arguments.utterances, "instruction", ORDER, "en", random)
    yield "another shop's searches", public_queries(arguments.searches, "search_term", FIND, "en", random)
    yield "a payment service's questions, Chinese", public_queries(arguments.chinese, "", ORDER, "zh", random)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the JSON file")
    parser.add_argument("--queries", type=Path, default=QUERIES)
    for name in ("--utterances", "--searches", "--chinese"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--generated", type=int, default=24_000, help="queries to train on")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    train_products, held = split_products(demo_products(7))
    shop = open_shop(train_products, QueryEncoderSettings(), arguments.threads)
    lexicon = Lexicon.of(train_products)
    examples = generated_queries(shop, TEMPLATES, arguments.generated, arguments.seed)
    data = shop.features(examples)
    settings = UnderstandingTraining(seed=arguments.seed)
    understander = trained(shop, data, settings)
    systems = {
        "majority": majority(examples),
        "rules alone": rules_alone(understander),
        "nearest centroid": nearest_centroid(data, shop),
        "network without n-grams": network_alone(trained(shop, data, replace(settings, use_grams=False))),
        "network alone": network_alone(understander),
        "kairos": with_rules(understander, lexicon),
    }
    results: dict[str, Any] = {
        "seed": arguments.seed,
        "generated": len(examples),
        "temperatures": understander.labels.temperatures,
    }
    results["sets"], results["mistakes"] = {}, {}
    read: list[ReadQuery] = []
    for name, queries in sets_of(arguments, held, shop):
        if queries:
            read = list(shop.reader.read([query.text for query in queries]))
            answers = {system: answer(read) for system, answer in systems.items()}
            results["sets"][name] = {system: figures(queries, found) for system, found in answers.items()}
            Console(width=150).print(report(name, results["sets"][name]))
        if name == "written by hand":
            results["mistakes"] = mistakes(queries, answers["kairos"])
            results["latency CPU ms"] = latency(understander, read, lexicon)
            results["sources"] = sources(understander, read, lexicon)
    print("Latency, ms of CPU:", results["latency CPU ms"])
    arguments.out.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def mistakes(queries: Sequence[TestQuery], answers: Sequence[Answer]) -> dict[str, list[str]]:
    """By head: "query: answer, not label"."""
    pairs = list(zip(queries, answers, strict=True))
    return {
        "intent": [f"{q.text}: {a.intent}, not {q.intent}" for q, a in pairs if a.intent != q.intent],
        "category": [
            f"{q.text}: {a.reported}, not {'|'.join(q.category)}"
            for q, a in pairs
            if q.category and a.reported and not _is_right(q.category, a.reported)
        ],
        "sentiment": [f"{q.text}: {a.sentiment}, not {q.sentiment}" for q, a in pairs if a.sentiment != q.sentiment],
    }


def sources(understander: Understander, read: Sequence[ReadQuery], lexicon: Lexicon) -> dict[str, float]:
    """Share of the answers that come from a rule."""
    found = [understander.understand(query.reading, query.vector, lexicon) for query in read]
    return {
        "intent by rule": round(_mean([one.intent.source is Source.RULE for one in found]), 4),
        "category by rule": round(_mean([one.category.source is Source.RULE for one in found if one.category]), 4),
    }


if __name__ == "__main__":
    sys.exit(main())
