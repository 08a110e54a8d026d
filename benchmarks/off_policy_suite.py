"""`kairos evaluate` against the truth: searches of simulated shoppers through the gateway of a suite in one process.

    python -m benchmarks.off_policy_suite --searches 1500 --out S.json

Shoppers click by a rule that is known: a place is examined with a probability that falls, and each product has an
appeal of its own. So the expected clicks of any order of the logged candidates are known too. The log is explored;
policies are evaluated from it as a shop does.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.results import Results
from demo.catalogue import build_catalogue
from demo.loading import load_products
from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite
from services.ranker.domain.exploration import SEARCHES
from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.settings import RankerSettings
from training.evaluation.estimates import Doubles
from training.evaluation.explored_order import ExploredOrder
from training.evaluation.logged_rankings import LoggedRankings, logged_rankings
from training.evaluation.policies import BASELINES, baseline_scores, version_scores
from training.evaluation.replay import NAMES, replay
from training.ranking.examples import SEARCH
from training.ranking.version import weights_by_kind
from training.suite.log import ReadLog
from training.suite.progress import Progress
from training.suite.reading import EVENTS, IMPRESSIONS, RANKINGS, read_logs
from training.suite.run import Suite
from training.suite.work import WorkFolder

SHARE, PAGE = 0.3, 12
POLICIES = ("built-in", *BASELINES)
_TIMEOUT_S = 60.0


def examination(place: int) -> float:
    """Of a place from 0."""
    return float(1 / (place + 1) ** 0.5)


def appeal(item_id: str) -> float:
    return 0.05 + 0.5 * int.from_bytes(hashlib.blake2b(item_id.encode(), digest_size=2).digest(), "little") / 65_535


def search(stub: gateway_pb2_grpc.GatewayServiceStub, number: int, queries: list[str], random: Random) -> None:
    """One search of a new or known shopper, and the clicks on its page."""
    request = gateway_pb2.SearchRequest(query=random.choice(queries), user_id=f"u{number % 400}", page_size=PAGE)
    answer = stub.Search(request, timeout=_TIMEOUT_S)
    clicked = [
        event_pb2.Event(
            event_id=f"{number}-{place}", user_id=request.user_id, item_id=result.product.id,
            type=event_pb2.EVENT_TYPE_CLICK, attribution_token=answer.attribution_token,
        )
        for place, result in enumerate(answer.results)
        if random.random() < examination(place) * appeal(result.product.id)
    ]  # fmt: skip
    if clicked:
        stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=clicked), timeout=_TIMEOUT_S)


def true_value(log: LoggedRankings, scores: Doubles) -> float:
    """Expected clicks of a ranking in the order of `scores`, over the draws of its exploration."""
    examples, total = log.examples, 0.0
    stock = examples.numbers[:, CANDIDATE_NUMBERS.index("out_of_stock")]
    for ranking in range(examples.page_count):
        rows = np.flatnonzero(examples.page == ranking)
        before = np.argsort(log.policy_positions[rows], kind="stable")
        order = before[np.lexsort((-scores[rows][before], log.tiers[rows][before]))]
        may_move = (stock[rows] == 0) & (log.tiers[rows] == 1)
        places = np.flatnonzero(log.shown[rows])
        chances = ExploredOrder(order, may_move, SEARCHES, float(log.shares[ranking])).chances(places)
        worth = np.array([appeal(item_id) for item_id in examples.item_ids[examples.item[rows]].tolist()])
        total += float((np.array([examination(place) for place in places.tolist()]) * (chances @ worth)).sum())
    return total / examples.page_count


def measure(searches: int, seed: int, products: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ranker = {"informed_exploration": SHARE, "rankings": {"whole_share": 1.0}}
        with in_process_suite(folder, ranker=ranker, random=Random(seed)) as suite:
            connection = Connection(suite.gateway_target)
            catalogue = build_catalogue(size=products)
            load_products(connection, folder, catalogue)
            queries, random = sorted({product.category_path[-1].lower() for product in catalogue}), Random(seed)
            with connection.stub() as stub:
                for number in tqdm(range(searches), desc="searches", unit="search"):
                    search(stub, number, queries, random)
            time.sleep(3)
            work = WorkFolder(folder / "evaluate")
            with work.opened("benchmark", time.time()):
                read_logs(connection, work, (EVENTS, IMPRESSIONS, RANKINGS), Progress(Console(), quiet=True))
                read = ReadLog(work, "", time.time())
                # A click belongs to the ranking of its token: the window may end at once after the last search.
                log = logged_rankings(read.rankings(), read.pages(), read.events(), time.time(), 2.0)
            log = log.of_kinds((SEARCH,))
            of_suite = Suite(connection, folder / "ranker" / "models", "default", RankerSettings().serving_weights)
            weights = weights_by_kind(of_suite.shoppers, of_suite.weights)
            made: dict[str, Any] = {"rankings": log.examples.page_count, "policies": {}}
            own = true_value(log, version_scores(None, log.examples, log.vector_version, weights))
            for policy in POLICIES:
                if policy in BASELINES:
                    scores = baseline_scores(policy, log.examples)
                else:
                    scores = version_scores(None, log.examples, log.vector_version, weights)
                found, value = replay(log, scores, "click"), true_value(log, scores)
                made["policies"][policy] = {
                    "value": value, "difference": value - own, "agreement": found.agreement,
                    "logged": found.logged.value,
                    "estimates": {
                        name: {
                            "difference": found.differences[name].value, "interval": found.differences[name].interval(),
                            "effective": found.overlaps[name].effective, "covered": found.overlaps[name].covered,
                        }
                        for name in NAMES
                    },
                }  # fmt: skip
        return made


def report(part: dict[str, Any], console: Console) -> None:
    for policy, found in part["policies"].items():
        table = Table(
            f"{policy}: true difference {found['difference']:+.4f}", "estimate", "95 %", "holds", "worth", "covered",
            box=None,
        )  # fmt: skip
        for name, row in found["estimates"].items():
            low, high = row["interval"]
            holds = "yes" if low - 1e-9 <= found["difference"] <= high + 1e-9 else "no"
            table.add_row(
                name, f"{row['difference']:+.4f}", f"{low:+.4f} to {high:+.4f}", holds, f"{row['effective']:,.0f}",
                f"{row['covered']:.0%}",
            )  # fmt: skip
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=1_500, help="searches of simulated shoppers")
    parser.add_argument("--products", type=int, default=300, help="products of the demo shop")
    parser.add_argument("--seeds", type=int, nargs="+", default=[6501], help="each is a run of its own")
    parser.add_argument("--out", type=Path, required=True, help="JSON file with the results")
    given = parser.parse_args()
    results = Results(given.out, {"searches": given.searches, "products": given.products})
    for seed in given.seeds:
        part = results.part(f"seed {seed}", partial(measure, given.searches, seed, given.products))
        print(json.dumps({"seed": seed, "rankings": part["rankings"]}))
        report(part, Console())


if __name__ == "__main__":
    main()
