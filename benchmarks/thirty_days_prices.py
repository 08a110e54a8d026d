"""Thirty days of a shop whose prices Kairos decides: the profit of each price policy, through the running suite.

    python -m benchmarks.thirty_days_prices --out R.json [--plot R.png] [--arms rules thompson]

The demo shop and its simulated shoppers, of seeds that nothing was chosen on, as in `benchmarks.thirty_days`. Shoppers
see the price of each result and react to it: a price e times as high costs a shopper its price sensitivity in utility.
Each visit goes through the gateway (`Recommend`, `Search`), and clicks, carts and purchases, with quote id and price,
back through `RecordEvents`. At the end of each day the price publisher takes its steps: it reads the catalogue and the
log through the gateway, and nothing else. An arm is a price policy file, as a shop writes it.

Profit is the price paid less cost, over all purchases. All arms of a seed have the same visits and the same chance.
Differences are paired with the first arm; their intervals are 95 %, by the bootstrap over the shoppers of all seeds.
R.json keeps finished runs; a later call with more seeds or arms adds to it.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.results import Results
from benchmarks.thirty_days import shop_of
from benchmarks.thirty_days_shop import TIMEOUT_S, Clock, Shop, Visit, Visitor
from demo.loading import load_products
from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.context import DEFAULT_TENANT
from services.common.convert import money_from_proto
from services.common.gateway_access import GatewayAccessSettings
from services.pricing.learning.metrics import LearningMetrics
from services.pricing.learning.prices import LearnedPrices, seed_of
from services.pricing.learning.settings import LearningSettings
from services.pricing.learning.sqlite_table import demand_table
from services.pricing.learning.wiring import consumer
from services.pricing.policies import PricePolicies
from services.pricing.publisher.grpc_gateway import GrpcShopGateway
from services.pricing.publisher.metrics import PublisherMetrics
from services.pricing.publisher.sqlite_state import SqlitePublisherState
from services.pricing.publisher.worker import PricePublisher
from services.pricing.settings import PricingSettings
from training.bootstrap import mean_interval

Values = npt.NDArray[np.float64]
# As a shop writes them. The list price may be exceeded by 15 %; all guardrails are on.
_BOUNDS = """
    period_hours: 24
    minimum_margin: 0.05
    maximum_discount: 0.3
    maximum_increase: 0.15
    maximum_daily_change: 0.1
    maximum_weekly_change: 0.25
"""
ARMS = {
    name: f"policies:\n  all:\n    policy: {name}{_BOUNDS}"
    for name in ("rules", "list-price", "greedy", "thompson", "contextual-thompson")
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    parser.add_argument(
        "--arms", nargs="*", choices=list(ARMS), default=["rules", "list-price", "thompson"], metavar="ARM"
    )
    parser.add_argument("--products", type=int, default=400)
    parser.add_argument("--shoppers", type=int, default=600)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="*", default=[5_301, 5_302, 5_303])
    arguments = parser.parse_args()
    settings = {name: getattr(arguments, name) for name in ("products", "shoppers", "days")}
    results = Results(arguments.out, settings)
    for seed in arguments.seeds:
        shop = shop_of(seed, arguments.products, arguments.shoppers)
        for name in arguments.arms:
            results.part(f"{name}, seed {seed}", partial(measured, name, shop, arguments.days))
    study = Study.of(arguments.seeds, arguments.arms, arguments.shoppers, results.parts)
    show(study, arguments.days)
    if arguments.plot:
        plot(study, arguments.days, arguments.plot)
    return 0


def measured(name: str, shop: Shop, days: int) -> dict[str, Any]:
    """The purchases of an arm, the mean shown price over the list price by day, and its time."""
    clock, random, began = Clock(), Random(), time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="kairos-prices-") as made,
        in_process_suite(Path(made), clock=clock, random=random) as suite,
    ):
        folder, connection = Path(made), Connection(suite.gateway_target, timeout_s=TIMEOUT_S)
        load_products(connection, folder, shop.products)
        levels = []
        with (
            connection.stub() as stub,
            Pricing(name, suite.gateway_target, folder, clock) as pricing,
            tqdm(total=days, desc=name, unit=" days", mininterval=5) as bar,
        ):
            visitor = PricedVisitor(shop, stub, clock, random)
            for day in range(days):
                clock.set(shop.morning(day))
                pricing.work()
                for visit in shop.visits(day):
                    visitor.visit(visit)
                levels.append(round(float(np.mean(visitor.levels)), 4))
                visitor.levels.clear()
                suite.wait_until_counted()
                bar.update()
                bar.set_postfix(level=levels[-1], purchases=len(visitor.purchases))
    return {"seconds": round(time.monotonic() - began), "levels": levels, "purchases": visitor.purchases}


class Pricing:
    """The price publisher of an arm, on the shop's clock."""

    def __init__(self, name: str, target: str, folder: Path, clock: Clock) -> None:
        file = folder / "policies.yaml"
        file.write_text(ARMS[name])
        access, learning, metrics = GatewayAccessSettings(target=target), LearningSettings(), PublisherMetrics()
        store = folder / "price_publisher" / "learning"
        learned = LearnedPrices(lambda: demand_table(learning, store), DEFAULT_TENANT, seed_of(store))
        policies = PricePolicies(PricingSettings(data_dir=folder / "pricing", policies=file), learned)
        self._stack, self._stop = ExitStack(), threading.Event()
        state = self._stack.enter_context(closing(SqlitePublisherState(folder / "price_publisher")))
        gateway = self._stack.enter_context(closing(GrpcShopGateway(access)))
        self._consumer = self._stack.enter_context(
            consumer(learning, store, access, LearningMetrics(metrics.registry), clock)
        )
        self._publisher = PricePublisher(gateway, state, lambda: policies.of(DEFAULT_TENANT), metrics, clock)

    def __enter__(self) -> Pricing:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def work(self) -> None:
        """Reads what is left of the log, and publishes until nothing is left to do."""
        self._consumer.turn(self._stop)
        while not self._publisher.step():
            pass


class PricedVisitor(Visitor):
    """A visitor who sees prices.

    `purchases`: rows of day, shopper, product's number, price paid, cost. `levels`: the price of each shown product, as
    a share of its list price.
    """

    def __init__(self, shop: Shop, stub: gateway_pb2_grpc.GatewayServiceStub, clock: Clock, random: Random) -> None:
        super().__init__(shop, stub, clock, random)
        self._shop = shop
        self.purchases: list[list[float]] = []
        self.levels: list[float] = []

    def wanted(self, visit: Visit, results: Sequence[gateway_pb2.Result]) -> list[float]:
        sensitivity, row_of = self._shop.shoppers[visit.shopper].price_sensitivity, self._shop.row_of
        listed = [float(self._shop.products[row_of[result.product.id]].price) for result in results]
        levels = [_shown(result) / price for result, price in zip(results, listed, strict=True)]
        self.levels.extend(levels)
        at_list = super().wanted(visit, results)
        return [value - sensitivity * math.log(level) for value, level in zip(at_list, levels, strict=True)]

    def completed(self, event: event_pb2.Event, result: gateway_pb2.Result) -> None:
        if event.type == event_pb2.EVENT_TYPE_CLICK:
            return
        event.price.CopyFrom(result.price.offer)
        event.quote_id = result.price.quote_id
        if event.type == event_pb2.EVENT_TYPE_PURCHASE:
            row = self._shop.row_of[result.product.id]
            shopper, day = event.session_id.rsplit("-", 1)
            number = next(n for n, known in enumerate(self._shop.shoppers) if known.id == shopper)
            self.purchases.append([int(day), number, row, _shown(result), float(self._shop.products[row].cost)])


def _shown(result: gateway_pb2.Result) -> float:
    return float(money_from_proto(result.price.offer, "price.offer").amount)


DAY, SHOPPER, PRODUCT, PAID, COST = range(5)


@dataclass(frozen=True)
class Study:
    """By arm: profit [shoppers of all seeds, days], units sold, mean price level [seeds, days]."""

    profits: Mapping[str, Values]
    units: Mapping[str, int]
    levels: Mapping[str, Values]
    minutes: Mapping[str, float]

    @classmethod
    def of(cls, seeds: Sequence[int], arms: Sequence[str], shoppers: int, parts: Mapping[str, Any]) -> Study:
        found = {name: [parts[f"{name}, seed {seed}"] for seed in seeds] for name in arms}
        days = len(next(iter(found.values()))[0]["levels"])

        def profit(part: Mapping[str, Any]) -> Values:
            rows = np.array(part["purchases"], np.float64).reshape(-1, 5)
            table = np.zeros((shoppers, days))
            np.add.at(table, (rows[:, SHOPPER].astype(int), rows[:, DAY].astype(int)), rows[:, PAID] - rows[:, COST])
            return table

        return cls(
            {name: np.concatenate([profit(part) for part in some]) for name, some in found.items()},
            {name: sum(len(part["purchases"]) for part in some) for name, some in found.items()},
            {name: np.array([part["levels"] for part in some]) for name, some in found.items()},
            {name: float(np.mean([part["seconds"] for part in some])) / 60 for name, some in found.items()},
        )


def show(study: Study, days: int) -> None:
    console, first = Console(), next(iter(study.profits))
    for title, begin in (("all days", 0), (f"from day {days // 2 + 1} on", days // 2)):
        table = Table(
            "", "profit of a shopper", "to the first arm (95 %)", "share", "units", "price level", title=title
        )
        base = study.profits[first][:, begin:].sum(axis=1)
        for name, values in study.profits.items():
            own = values[:, begin:].sum(axis=1)
            low, high = mean_interval(own - base, 0, 3)
            table.add_row(
                f"{name} ({study.minutes[name]:.0f} min)", f"{own.mean():.2f}",
                f"{np.mean(own - base):+.3f} ({low:+.3f} to {high:+.3f})", f"{own.sum() / base.sum():.3f}",
                f"{study.units[name]:,}", f"{study.levels[name][:, begin:].mean():.3f}",
            )  # fmt: skip
        console.print(table)


def plot(study: Study, days: int, path: Path) -> None:
    """Profit so far less that of the first arm, with its interval; and the mean price level."""
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, (above, below) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    base = next(iter(study.profits.values())).cumsum(axis=1)
    for name, values in study.profits.items():
        differences = values.cumsum(axis=1) - base
        (line,) = above.plot(range(1, days + 1), differences.mean(axis=0), label=name)
        low, high = zip(*(mean_interval(column, 0, 4) for column in differences.T), strict=True)
        above.fill_between(range(1, days + 1), low, high, alpha=0.12, color=line.get_color())
        below.plot(range(1, days + 1), study.levels[name].mean(axis=0), label=name)
    above.set(xlabel="day", ylabel="profit of a shopper so far, less the first arm")
    below.set(xlabel="day", ylabel="shown price, share of the list price")
    above.legend()
    chart.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
