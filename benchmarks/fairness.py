"""Exposure of sellers against merit, and two remedies: offsets in serving, and constraints in training.

    python -m benchmarks.fairness --out F.json
    python -m benchmarks.fairness --products P.csv.gz --judgements J.csv.gz --out F.json

Without files, the demo shop: a query names a kind and a colour, and a product with both is relevant. With them, a shop
with human judgements (product_uid, product_title; search_term, product_uid, relevance 1 to 3). Synthetic sellers own
products at random; those of the first ones were bought often before, whatever their relevance, so popularity favours
them.

Half of the queries are asked by visitors, who click by relevance and place; their rankings are logged. From this log
`kairos fairness fit` finds offsets of the sellers, which the gateway reads from the serving configuration, and
`training.ranking` trains the ranker network without and with constraints. The other half of the queries is asked of
each suite, through its gateway: NDCG@10 with gains 2^(relevance - 1) - 1, and the exposure gap, half the sum of the
distances between the sellers' shares of exposure and those that are due by relevance. Intervals are 95 %, by the
bootstrap over queries.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.off_policy_suite import examination
from benchmarks.results import Results
from demo.catalogue import build_catalogue
from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite
from services.gateway.adapters.serving_file import embedded_configuration
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_store
from training.bootstrap import mean_interval
from training.evaluation.estimates import Doubles, Integers
from training.evaluation.fairness import deserved, exposure_of, fit_offsets, gap
from training.evaluation.fairness_log import Asked, GroupedLog, due_of, read_grouped
from training.ranking.constraints import Constraints
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings
from training.ranking.reading import ExampleReader
from training.search.data import gain, read_judgements
from training.suite.progress import Progress
from training.suite.run import Suite
from training.suite.work import WorkFolder

DEPTH, PAGE, TIMEOUT_S = 10, 24, 60.0
BY = "attributes.seller"
# Mean number of earlier buyers of a product, and the share of the products, of each seller.
BUYERS, SHARES = (16.0, 6.0, 2.0, 0.5, 0.2, 0.0), (0.15, 0.2, 0.2, 0.2, 0.15, 0.1)
# How often a query of the log is asked.
_ROUNDS, _EPOCHS, _WINDOW_S = 3, 6, 0.5
BASE, OFFSETS, NETWORK, CONSTRAINED = "weighted sum", "with offsets", "network", "with constraints"
_SAMPLES = 1_000


@dataclass(frozen=True)
class Case:
    """`judgements`: gains by query and product."""

    products: Sequence[product_pb2.Product]
    judgements: Mapping[str, Mapping[str, float]]


def demo_case(size: int, random: Random) -> Case:
    catalogue = build_catalogue(size=size)
    judged: dict[str, dict[str, float]] = {}
    for product in catalogue:
        for colour in product.attributes.get("colour", ())[:1]:
            of_kind = [other for other in catalogue if other.category_path == product.category_path]
            judged[f"{colour} {product.category_path[-1]}".lower()] = {
                other.id: gain(3.0 if colour in other.attributes.get("colour", ()) else 2.0) for other in of_kind
            }
    products = [
        product_pb2.Product(id=one.id, title=one.title, brand=one.brand, category_path=one.category_path)
        for one in catalogue
    ]
    return Case(_with_sellers(products, random), judged)


def judged_case(products: Path, judgements: Path, queries: int, others: int, random: Random) -> Case:
    known = read_judgements(judgements)
    chosen = random.sample(sorted(known), min(queries, len(known)))
    with gzip.open(products, "rt", encoding="utf-8", newline="") as lines:
        titles = {row["product_uid"]: row["product_title"] for row in csv.DictReader(lines)}
    wanted = {id for query in chosen for id in known[query] if id in titles}
    rest = sorted(titles.keys() - wanted)
    ids = sorted(wanted) + random.sample(rest, min(others, len(rest)))
    made = [product_pb2.Product(id=id, title=titles[id][:1_000]) for id in ids]
    gains = {query: {id: gain(relevance) for id, relevance in known[query].items()} for query in chosen}
    return Case(_with_sellers(made, random), gains)


def _with_sellers(products: list[product_pb2.Product], random: Random) -> list[product_pb2.Product]:
    for product in products:
        seller = random.choices(range(len(SHARES)), SHARES)[0]
        product.attributes["seller"].values.append(f"seller {seller}")
    return products


def seller_of(product: product_pb2.Product) -> int:
    return int(product.attributes["seller"].values[0].removeprefix("seller "))


def fill(stub: gateway_pb2_grpc.GatewayServiceStub, case: Case, seed: int) -> None:
    """Imports the products, and the purchases of earlier visitors."""
    random, events = np.random.default_rng(seed), list[event_pb2.Event]()
    for first in range(0, len(case.products), 200):
        message = gateway_pb2.ImportProductsRequest(products=case.products[first : first + 200])
        stub.ImportProducts(iter([message]), timeout=600)
    for product in case.products:
        for buyer in range(random.poisson(BUYERS[seller_of(product)])):
            event = event_pb2.Event(
                event_id=f"before-{product.id}-{buyer}", visitor_id=f"before-{product.id}-{buyer}",
                item_id=product.id, type=event_pb2.EVENT_TYPE_PURCHASE,
            )  # fmt: skip
            event.occurred_at.FromSeconds(int(time.time() - 86_400 * random.uniform(1, 7)))
            events.append(event)
    for first in range(0, len(events), 500):
        stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=events[first : first + 500]), timeout=TIMEOUT_S)


def ask(stub: gateway_pb2_grpc.GatewayServiceStub, case: Case, queries: Sequence[str], random: Random) -> None:
    """Visitors search and click."""
    best = gain(3.0)
    for round_ in range(_ROUNDS):
        for number, query in enumerate(tqdm(queries, desc=f"searches {round_ + 1}/{_ROUNDS}", mininterval=5)):
            visitor = f"v-{round_}-{number}"
            message = gateway_pb2.SearchRequest(query=query, visitor_id=visitor, page_size=PAGE)
            answer = stub.Search(message, timeout=TIMEOUT_S)
            clicks = [
                event_pb2.Event(
                    event_id=f"{visitor}-{place}", visitor_id=visitor, item_id=result.product.id,
                    type=event_pb2.EVENT_TYPE_CLICK, attribution_token=answer.attribution_token,
                )
                for place, result in enumerate(answer.results)
                if random.random()
                < examination(place) * (0.03 + 0.6 * case.judgements[query].get(result.product.id, 0.0) / best)
            ]  # fmt: skip
            if clicks:
                stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=clicks), timeout=TIMEOUT_S)


def pages(target: str, queries: Sequence[str]) -> list[list[str]]:
    """The first page of each query, of nobody known."""
    with Connection(target, timeout_s=TIMEOUT_S).stub() as stub:
        found = []
        for query in queries:
            answer = stub.Search(gateway_pb2.SearchRequest(query=query, page_size=DEPTH), timeout=TIMEOUT_S)
            found.append([result.product.id for result in answer.results])
    return found


def served(state: Path, queries: Sequence[str], exposure: Any = None, model: Path | None = None) -> list[list[str]]:
    """Of a copy of the shop, with an exposure of the serving configuration, or a network."""
    copy = state.with_name(f"{state.name}-copy")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(state, copy)
    gateway: dict[str, Any] = {}
    if exposure is not None:
        built_in = embedded_configuration().placements["home"].model_dump(mode="json", exclude_defaults=True)
        file = copy / "serving.yaml"
        file.write_text(yaml.safe_dump({"version": "fair", "placements": {"home": built_in}, "exposure": exposure}))
        gateway["serving_configuration"] = file
    ranker: dict[str, Any] = {} if model is None else {"ranker": "network", "model_dir": model}
    with in_process_suite(copy, ranker=ranker, gateway=gateway, random=Random(0)) as suite:
        return pages(suite.gateway_target, queries)


def networks(state: Path, out: Path, constraints: Constraints, seed: int) -> dict[str, Path]:
    """Folders of the network without and with constraints, trained on the shop's log."""
    made = {}
    with closing(build_store(RankerSettings(store="sqlite", data_dir=state / "ranker"))) as store:
        reader = ExampleReader(store, window_s=_WINDOW_S)
        examples = reader.read(time.time())
        for name, bounds in ((NETWORK, None), (CONSTRAINED, constraints)):
            ranker = LearnableRanker(NetworkSettings(examples.dimensions), None, reader.vector_version, seed)
            ranker.update(examples, _EPOCHS, seed, quiet=False, constraints=bounds)
            ranker.save(out / name)
            made[name] = out / name
    return made


def grouped_of(suite_target: str, state: Path, folder: Path) -> GroupedLog:
    """As `kairos fairness` reads it."""
    suite = Suite(Connection(suite_target), state / "ranker" / "models", "default", RankerSettings().serving_weights)
    asked = Asked(BY, "search", _WINDOW_S)
    return read_grouped(suite, WorkFolder(folder / "work"), asked, Progress(Console(), quiet=True))


class Judge:
    """Of pages of the same queries, in each variant. What is due is by all products: those without a judgement are not
    relevant, and share the places behind the relevant ones.
    """

    def __init__(self, case: Case, queries: Sequence[str], variants: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self._case, self._queries, self._variants = case, queries, variants
        self._seller = {product.id: seller_of(product) for product in case.products}
        ids, one_list = list(self._seller), np.zeros(len(self._seller), np.int64)
        gains = ([case.judgements[query].get(id, 0.0) for id in ids] for query in queries)
        self.due = np.array([self._of_sellers(ids, deserved(one_list, np.array(of_query))) for of_query in gains])

    def exposed(self, variant: str) -> Doubles:
        """[queries, sellers]"""
        found = self._variants[variant]
        return np.array([self._of_sellers(ids, exposure_of(np.arange(1, len(ids) + 1))) for ids in found])

    def ndcg(self, variant: str) -> Doubles:
        """[queries]"""
        found = []
        for ids, query in zip(self._variants[variant], self._queries, strict=True):
            judged = self._case.judgements[query]
            gains = np.array([judged.get(id, 0.0) for id in ids])
            best = np.sort([judged[id] for id in judged.keys() & self._seller.keys()])[::-1][:DEPTH]
            ideal = float(best @ exposure_of(np.arange(1, len(best) + 1)))
            found.append(float(gains @ exposure_of(np.arange(1, len(ids) + 1))) / ideal if ideal else 0.0)
        return np.array(found)

    def gap(self, variant: str, rows: Integers | slice = slice(None)) -> float:
        exposed, due = self.exposed(variant)[rows].sum(0), self.due[rows].sum(0)
        return gap(exposed / exposed.sum(), due / due.sum())

    def compared(self, before: str, after: str, seed: int) -> dict[str, Any]:
        exposed = {name: self.exposed(name) for name in (before, after)}
        random, ratios = np.random.default_rng(seed), []
        for _ in range(_SAMPLES):
            rows = random.integers(0, len(self.due), len(self.due))
            due = self.due[rows].sum(0)
            own = [gap(of[rows].sum(0) / of[rows].sum(), due / due.sum()) for of in (exposed[before], exposed[after])]
            ratios.append(own[1] / own[0] if own[0] else 1.0)
        change = self.ndcg(after) - self.ndcg(before)
        low, high = np.quantile(ratios, [0.025, 0.975])
        mean = float(self.ndcg(before).mean())
        return {
            "gap_before": self.gap(before), "gap_after": self.gap(after),
            "gap_ratio": self.gap(after) / max(self.gap(before), 1e-9), "gap_ratio_interval": [float(low), float(high)],
            "ndcg_before": mean, "ndcg_after": float(self.ndcg(after).mean()),
            "ndcg_change": float(change.mean()) / mean,
            "ndcg_change_interval": [bound / mean for bound in mean_interval(change, seed)],
        }  # fmt: skip

    def _of_sellers(self, ids: Sequence[str], exposure: Doubles) -> Doubles:
        sellers = np.array([self._seller[id] for id in ids], np.int64)
        return np.asarray(np.bincount(sellers, exposure, len(SHARES)), np.float64)


def measure(case: Case, seed: int) -> dict[str, Any]:
    random = Random(seed)
    queries = sorted(query for query, judged in case.judgements.items() if any(judged.values()))
    random.shuffle(queries)
    asked, held = queries[: len(queries) // 2], queries[len(queries) // 2 :]
    with tempfile.TemporaryDirectory(prefix="kairos-fairness-") as name:
        folder = Path(name)
        state = folder / "state"
        ranker = {"rankings": {"whole_share": 1.0}, "exploration": 0.0}
        with in_process_suite(state, ranker=ranker, random=Random(seed)) as suite:
            with Connection(suite.gateway_target, timeout_s=TIMEOUT_S).stub() as stub:
                fill(stub, case, seed)
                suite.wait_until_counted()
                ask(stub, case, asked, random)
            suite.wait_until_counted()
            time.sleep(2 + _WINDOW_S)
            log = grouped_of(suite.gateway_target, state, folder)
        fitted = fit_offsets(log.grouped, halves=log.halves)
        offsets = dict(zip(log.grouped.names, fitted.offsets.round(4).tolist(), strict=True))
        models = networks(state, folder, Constraints(log.groups, due_of(log)), seed)
        variants = {
            BASE: served(state, held),
            OFFSETS: served(state, held, {"group_by": BY, "offsets": offsets}),
            **{name: served(state, held, model=models[name]) for name in (NETWORK, CONSTRAINED)},
        }
    judge = Judge(case, held, variants)
    return {
        "products": len(case.products), "logged_queries": len(asked), "queries": len(held), "offsets": offsets,
        "fit": {"gap_before": fitted.gap_before, "gap_after": fitted.gap_after},
        "shares": {
            name: (judge.exposed(name).sum(0) / judge.exposed(name).sum()).round(4).tolist() for name in variants
        },
        "due": (judge.due.sum(0) / judge.due.sum()).round(4).tolist(),
        OFFSETS: judge.compared(BASE, OFFSETS, seed), CONSTRAINED: judge.compared(NETWORK, CONSTRAINED, seed),
    }  # fmt: skip


def show(parts: Mapping[str, Mapping[str, Any]]) -> Table:
    table = Table("shop", "remedy", "gap", "with it", "of the gap", "NDCG@10", "with it", "change", box=None)
    for name, part in parts.items():
        for remedy in (OFFSETS, CONSTRAINED):
            row = part[remedy]
            (low, high), (least, most) = row["gap_ratio_interval"], row["ndcg_change_interval"]
            table.add_row(
                name, remedy, f"{row['gap_before']:.3f}", f"{row['gap_after']:.3f}",
                f"{row['gap_ratio']:.2f} ({low:.2f}–{high:.2f})", f"{row['ndcg_before']:.4f}",
                f"{row['ndcg_after']:.4f}", f"{row['ndcg_change']:+.1%} ({least:+.1%} to {most:+.1%})",
            )  # fmt: skip
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=Path, help="catalogue of a judged shop; default: the demo shop")
    parser.add_argument("--judgements", type=Path, help="of the judged shop")
    parser.add_argument("--size", type=int, default=1_500, help="products of the demo shop")
    parser.add_argument("--queries", type=int, default=600, help="queries of the judged shop")
    parser.add_argument("--others", type=int, default=500, help="products of the judged shop that no query names")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="each is a run of its own")
    parser.add_argument("--out", type=Path, required=True, help="JSON file with the results")
    options = parser.parse_args()
    if (options.products is None) != (options.judgements is None):
        parser.error("give both --products and --judgements, or none of them")
    shop = "demo shop" if options.products is None else options.products.parent.name
    results = Results(options.out, {"size": options.size, "queries": options.queries, "others": options.others})
    for seed in options.seeds:
        random = Random(seed)
        if options.products is None:
            case = demo_case(options.size, random)
        else:
            case = judged_case(options.products, options.judgements, options.queries, options.others, random)
        part = results.part(f"{shop}, seed {seed}", partial(measure, case, seed))
        print(json.dumps({name: part[name] for name in ("offsets", "shares", "due", "fit")}))
    Console(width=140).print(show(results.parts))


if __name__ == "__main__":
    main()
