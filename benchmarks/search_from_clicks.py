"""The text model from simulated clicks alone, measured against human judgements, with training on judgements beside it.

    python -m benchmarks.search_from_clicks --products P.csv.gz --judgements J.csv.gz --out R.json [--judged]

Four fifths of the queries, by a hash of query and seed, have shoppers; the others are measured, and no training sees
them. A shopper sees ten products: a draw without replacement from the first 50 results of the suite with default
settings, by 1 / rank. A product at position k is examined with the probability 1 / k, and an examined one clicked with
the probability 0.05 + 0.9 x gain / 3, where the gain is that of the judgement, 0 for unjudged products. One of five
clicks on a product with a gain becomes a purchase. Lists and clicks are written to a file of events, which
`kairos events import` sends to the suite; then `kairos train --only text` reads the log. The new version is measured
through the gateway whatever the verdict on it was. `--judged` trains on the judgements of the same queries as well.

`--queries` and `--new` bound the queries of each part, `--catalogue` the products: the judged ones first. The work
folder beside R.json and R.json itself keep what is finished: the same command continues.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.results import Results
from benchmarks.search_quality import Figures, by_gateway, figures_of, interval
from catalog.products import read_catalogue
from ops.in_process import InProcessSuite, in_process_suite
from services.common.models.registry import ModelRegistry
from services.common.models.text_version import FOLDER, read_text_version
from training.search.catalogue import SearchedCatalogue, TrainedSearch, configured_search
from training.search.data import Judgements, gain, read_judgements, split
from training.search.settings import EncoderTraining, SearchTraining
from training.search.train import train
from training.suite.text import search_of

DEFAULT, FROM_CLICKS, FROM_JUDGEMENTS = "kairos, default settings", "trained on clicks", "trained on judgements"
TRAINED_SHARE = 0.8
_SHOWN, _FROM = 10, 50
_NOISE, _CLICKED, _BOUGHT = 0.05, 0.9, 0.2
_PAUSE = timedelta(seconds=20)


@dataclass(frozen=True)
class Shop:
    """The files of the run in `folder`, and what is measured."""

    folder: Path
    sessions: int
    minutes: float
    seed: int

    @property
    def products(self) -> Path:
        return self.folder / "products.csv"

    @property
    def registry(self) -> Path:
        return self.folder / "models"

    @contextmanager
    def suite(self) -> Iterator[InProcessSuite]:
        """It keeps all events: 20 sessions of 7,594 queries are more than it keeps by default."""
        os.environ["KAIROS_RANKER_RETENTION__EVENTS__COUNT"] = "2000000"
        with in_process_suite(self.folder / "suite") as suite:
            yield suite

    def kairos(self, suite: InProcessSuite, *command: str) -> float:
        """Runs a command of the CLI, and gives its seconds. Raises SystemExit if it fails."""
        started = time.perf_counter()
        line = [sys.executable, "-c", "from cli.main import app; app()", "--target", suite.gateway_target, *command]
        if status := subprocess.run(line, check=False).returncode:
            raise SystemExit(f"`kairos {' '.join(command)}` ended with {status}")
        return round(time.perf_counter() - started, 1)

    def set_up(self) -> dict[str, float]:
        with self.suite() as suite:
            return {"catalogue": self.kairos(suite, "catalog", "import", str(self.products))}

    def record(self, judgements: Judgements) -> dict[str, Any]:
        """Simulates the shoppers, and imports what they did."""
        with self.suite() as suite:
            shown = by_gateway(suite, list(judgements), "Results that shoppers see")
            counts = self._write(judgements, shown)
            return counts | {"seconds": self.kairos(suite, "events", "import", str(self.folder / "events.csv"))}

    def train(self) -> dict[str, float]:
        with self.suite() as suite:
            command = ("--only", "text", "--minutes", str(self.minutes), "--seed", str(self.seed))
            where = ("--registry", str(self.registry), "--work", str(self.folder / "train"))
            return {"seconds": self.kairos(suite, "train", *command, *where)}

    @property
    def trained(self) -> TrainedSearch:
        registry = ModelRegistry(self.registry / "default" / FOLDER)
        folder = registry.path(registry.versions()[-1])
        return search_of(folder, read_text_version(folder))

    def report(self) -> dict[str, Any]:
        registry = ModelRegistry(self.registry / "default" / FOLDER)
        found: dict[str, Any] = json.loads((registry.path(registry.versions()[-1]) / "report.json").read_text())
        return {name: found[name] for name in ("metrics", "verdict", "data", "mixing")}

    def _write(self, judgements: Judgements, shown: dict[str, Sequence[str]]) -> dict[str, int]:
        """An event a row, in the order of time; the rows of a list in the order of their positions."""
        random = np.random.default_rng(self.seed)
        lists = [query for query in judgements for _ in range(self.sessions) if shown[query]]
        random.shuffle(lists)
        # The window of the last outcomes is over when the training begins.
        began = datetime.now(UTC) - timedelta(days=2) - _PAUSE * len(lists)
        counts = {"lists": len(lists), "impressions": 0, "clicks": 0, "purchases": 0}
        with (self.folder / "events.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("event_id", "visitor_id", "session_id", "item_id", "type", "time", "query"))
            for number, query in enumerate(lists):
                who, at = (f"v{number}", f"s{number}"), began + _PAUSE * number
                ids = drawn(shown[query][:_FROM], random)
                gains = np.array([gain(judgements[query].get(item_id, 1.0)) / 3 for item_id in ids])
                examined = random.random(len(ids)) < 1 / np.arange(1, len(ids) + 1)
                clicked = examined & (random.random(len(ids)) < _NOISE + _CLICKED * gains)
                bought = clicked & (gains > 0) & (random.random(len(ids)) < _BOUGHT)
                rows = [(item_id, "impression", at, query) for item_id in ids]
                for place in np.flatnonzero(clicked):
                    rows.append((ids[place], "click", at + timedelta(seconds=1 + int(place)), ""))
                    if bought[place]:
                        rows.append((ids[place], "purchase", at + _PAUSE, ""))
                for row, (item_id, kind, when, text) in enumerate(rows):
                    writer.writerow((f"{number}-{row}", *who, item_id, kind, when.isoformat(), text))
                counts["impressions"] += len(ids)
                counts["clicks"] += int(clicked.sum())
                counts["purchases"] += int(bought.sum())
        return counts


def drawn(results: Sequence[str], random: np.random.Generator) -> list[str]:
    """Ten of the results without replacement, by 1 / rank."""
    order = np.argsort(np.log(np.arange(1, len(results) + 1)) - random.gumbel(size=len(results)))
    return [results[row] for row in order[:_SHOWN]]


def measured(
    shop: Shop, judgements: Judgements, search: Callable[[], TrainedSearch], name: str
) -> dict[str, list[float]]:
    catalogue = SearchedCatalogue(read_catalogue(shop.products), shop.folder / "measured")
    with catalogue.served(search()) as suite:
        found = figures_of(judgements, by_gateway(suite, list(judgements), name))
    return {"ndcg": found.ndcg.tolist(), "recall": found.recall.tolist()}


def part_of(judgements: Judgements, most: int) -> Judgements:
    return dict(list(judgements.items())[: most or None])


def within(judgements: Judgements, products: Path) -> Judgements:
    """Without products that a smaller catalogue lacks."""
    with products.open(newline="", encoding="utf-8") as file:
        ids = {row["id"] for row in csv.DictReader(file)}
    return {query: {id: value for id, value in judged.items() if id in ids} for query, judged in judgements.items()}


def write_products(source: Path, mapping: str, target: Path, judgements: Judgements, most: int) -> int:
    """The judged products, and others up to `most` in all; 0: all."""
    products = read_catalogue(source, mapping)
    judged = {item_id for of_query in judgements.values() for item_id in of_query}
    kept = sorted(products, key=lambda product: product.id not in judged)[: most or None]
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "title"))
        writer.writerows((product.id, product.title) for product in kept)
    return len(kept)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, required=True)
    parser.add_argument("--judgements", type=Path, required=True, help="search_term, product_uid, relevance")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file; the work folder goes beside it")
    parser.add_argument("--map", default="id=product_uid,title=product_title", help="as for `kairos catalog import`")
    parser.add_argument("--train", type=Path, help="judgements of the queries with shoppers; then J is only measured")
    parser.add_argument("--sessions", type=int, default=20, help="of each query")
    parser.add_argument("--queries", type=int, default=0, help="with shoppers; 0: all")
    parser.add_argument("--new", type=int, default=0, help="queries that are measured; 0: all")
    parser.add_argument("--catalogue", type=int, default=0, help="products; 0: all")
    parser.add_argument("--minutes", type=float, default=EncoderTraining().minutes, help="of the encoder's training")
    parser.add_argument("--judged", action="store_true", help="train on judgements as well")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    judgements = read_judgements(arguments.judgements)
    if arguments.train is not None:
        known, new = read_judgements(arguments.train), judgements
    else:
        known, new = split(judgements, TRAINED_SHARE, f"seed {arguments.seed}")
    known, new = part_of(known, arguments.queries), part_of(new, arguments.new)
    options = {name: str(value) for name, value in vars(arguments).items() if name not in ("out", "judged")}
    results = Results(arguments.out, options)
    folder = arguments.out.resolve().with_suffix("")
    shop = Shop(folder, arguments.sessions, arguments.minutes, arguments.seed)
    results.part(
        "products",
        lambda: write_products(arguments.products, arguments.map, shop.products, {**known, **new}, arguments.catalogue),
    )
    known, new = within(known, shop.products), within(new, shop.products)
    results.part("set up", shop.set_up)
    results.part("log", lambda: shop.record(known))
    results.part("training", shop.train)
    results.part("report", shop.report)
    searches = {DEFAULT: configured_search, FROM_CLICKS: lambda: shop.trained}
    if arguments.judged:
        searches[FROM_JUDGEMENTS] = lambda: from_judgements(shop, known)
    values = {name: results.part(name, partial(measured, shop, new, search, name)) for name, search in searches.items()}
    show({name: Figures(np.array(of["ndcg"]), np.array(of["recall"])) for name, of in values.items()}, arguments.seed)
    return 0


def from_judgements(shop: Shop, judgements: Judgements) -> TrainedSearch:
    file = shop.folder / "judged.csv.gz"
    with gzip.open(file, "wt", newline="", encoding="utf-8") as written:
        writer = csv.writer(written)
        writer.writerow(("search_term", "product_uid", "relevance"))
        writer.writerows((query, id, value) for query, judged in judgements.items() for id, value in judged.items())
    settings = SearchTraining(EncoderTraining(minutes=shop.minutes, seed=shop.seed))
    return train(shop.products, "", file, shop.folder / "judged", settings)


def show(figures: dict[str, Figures], seed: int) -> None:
    table = Table(title=f"{len(figures[DEFAULT].ndcg):,} queries that no training saw")
    for heading in ("", "NDCG@10", "recall@100", "NDCG@10 minus default, 95 %"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, found in figures.items():
        means, (low, high) = found.means(), interval(found, figures[DEFAULT], seed)
        table.add_row(name, f"{means['ndcg@10']:.4f}", f"{means['recall@100']:.4f}", f"{low:+.4f} to {high:+.4f}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
