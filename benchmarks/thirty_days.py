"""Thirty days of a shop that starts with an empty log: how good its pages become, by what learns from the log.

    python -m benchmarks.thirty_days --out R.json [--plot R.png] [--arms "hand-set weights" "fitted weights"]

The demo shop and its simulated shoppers, of a seed that nothing was chosen on. Each day shoppers visit through the
gateway (`Recommend` and `Search` of twenty products), and their clicks, carts and purchases, which depend on the true
utilities and the positions, go back through `RecordEvents`. Each night the code of `kairos train` trains, and what its
guardrail passes is promoted (`kairos models promote`). An arm says what is trained, and whether rankings are explored:

hand-set weights   nothing is trained: the weighted sum with the weights of the settings, profiles and counts
fitted weights     the shopper model, and the weights that are fitted with it
full stack         and the ranking model
incremental        the ranking model is trained by the learner, each hour, instead of each night
exploration        with KAIROS_RANKER_INFORMED_EXPLORATION of that share

Reported: the mean true utility of the first ten products by day, with those of ten random products and of each
shopper's best ten; clicks per shown product (CTR) by day; the return of a shopper, with 1 for a click, 3 for a cart and
6 for a purchase. Intervals are 95 %, by the bootstrap over shoppers; differences are paired with the first arm. R.json
keeps finished arms.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.results import Results
from benchmarks.thirty_days_shop import TIMEOUT_S, Clock, Outcome, Shop, Visitor
from demo.catalogue import build_catalogue
from demo.loading import load_products
from demo.shoppers import build_shoppers
from ops.client import Connection
from ops.in_process import InProcessSuite, in_process_suite
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.learner.learner import Learner
from services.learner.metrics import LearnerMetrics
from services.learner.settings import GuardrailSettings, LearnerSettings, TrainingSettings
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_store
from training.bootstrap import mean_interval
from training.suite.progress import Progress
from training.suite.run import Suite
from training.suite.run import run as train
from training.suite.settings import settings_for
from training.suite.work import WorkFolder

Rows = npt.NDArray[np.float64]

TENANT = "default"
# Of the training of a night.
_MINUTES = 0.5
_HOUR_S = 3_600.0
# Until the ranker has read the registry, which it looks at ten times a second.
_POLL_S, _SETTLE_S = 0.1, 1.0
# Days of a point of the plot.
_PERIOD = 3
DAY, SHOPPER, RECOMMENDED, FOUND, SHOWN, CLICKS, VALUE = range(7)


@dataclass(frozen=True)
class Arm:
    """`nightly`: the kinds that `kairos train` trains. `exploration`: the share for known users and searches."""

    nightly: tuple[str, ...] = ()
    has_learner: bool = False
    exploration: float = 0.0


ARMS = {
    "hand-set weights": Arm(),
    "fitted weights": Arm(("shopper",)),
    "full stack": Arm(("shopper", "ranking")),
    "full stack, incremental": Arm(("shopper",), has_learner=True),
    "fitted weights, exploration .02": Arm(("shopper",), exploration=0.02),
    "full stack, exploration .02": Arm(("shopper", "ranking"), exploration=0.02),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--arms", nargs="*", choices=list(ARMS), default=list(ARMS), metavar="ARM")
    parser.add_argument("--products", type=int, default=400)
    parser.add_argument("--shoppers", type=int, default=150)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=4_201)
    arguments = parser.parse_args()
    settings = {name: getattr(arguments, name) for name in ("products", "shoppers", "days", "seed")}
    results, products = Results(arguments.out, settings), build_catalogue(arguments.seed, arguments.products)
    shop = Shop(products, build_shoppers(products, arguments.shoppers, arguments.seed), arguments.seed)
    for name in arguments.arms:
        results.part(name, partial(measured, name, shop, arguments.days))
    rows = {name: np.array(results.parts[name]["visits"], np.float64) for name in ARMS if name in results.parts}
    show(rows, results.parts, shop, arguments.days, arguments.seed)
    if arguments.plot:
        plot(rows, shop, arguments.plot, arguments.seed)
    return 0


def measured(name: str, shop: Shop, days: int) -> dict[str, Any]:
    """The arm's visits, what each night's training gave, the versions that were promoted, and its time."""
    # Popular products are those of the moment, and not of 20 s ago.
    os.environ["KAIROS_GATEWAY_SEARCH__POPULAR_REFRESH_S"] = "0.5"
    arm, clock, began = ARMS[name], Clock(), time.monotonic()
    ranker = {"informed_exploration": arm.exploration, "registry_poll_s": _POLL_S}
    with (
        tempfile.TemporaryDirectory(prefix="kairos-days-") as made,
        in_process_suite(Path(made), ranker=ranker, clock=clock) as suite,
    ):
        folder, connection = Path(made), Connection(suite.gateway_target, timeout_s=TIMEOUT_S)
        load_products(connection, folder, shop.products)
        training = _Training(arm, suite, connection, folder, clock)
        outcomes = list[Outcome]()
        with connection.stub() as stub, tqdm(total=days, desc=name, unit=" days") as bar:
            visitor = Visitor(shop, stub, clock)
            for day in range(days):
                for visit in shop.visits(day):
                    training.by_day()
                    outcomes.append(visitor.visit(visit))
                suite.wait_until_counted()
                training.by_night()
                bar.update()
                bar.set_postfix(promoted=len(training.promoted))
        training.close()
    return {
        "seconds": round(time.monotonic() - began),
        "promoted": training.promoted,
        "nights": training.nights,
        "visits": [[round(value, 4) for value in astuple(outcome)] for outcome in outcomes],
    }


def learner_settings(folder: Path) -> LearnerSettings:
    """The thresholds are lower than the learner's own, which are for some thousand pages a day."""
    return LearnerSettings(
        data_dir=folder,
        training=TrainingSettings(least_clicked=300),
        guardrail=GuardrailSettings(pages=200, least_held=100),
    )


class _Training:
    """What an arm trains, and promotes."""

    def __init__(self, arm: Arm, suite: InProcessSuite, connection: Connection, folder: Path, clock: Clock) -> None:
        self._arm, self._suite, self._folder, self._clock = arm, suite, folder, clock
        settings = RankerSettings(data_dir=folder / "ranker")
        self._models = Suite(connection, settings.models_dir, TENANT, settings.serving_weights)
        self._settings, self._bar = settings_for(small=True, minutes=_MINUTES), Progress(Console(), quiet=True)
        self.promoted, self.nights = list[str](), list[list[str]]()
        self._learner, self._learned_s = None, clock()
        if arm.has_learner:
            self._store = build_store(settings)
            self._learner = Learner(
                self._store, self._models.rankers, self._models.shoppers, settings.serving_weights,
                learner_settings(folder / "learner"), LearnerMetrics(), clock,
            )  # fmt: skip

    def by_day(self) -> None:
        if self._learner is not None and self._clock() - self._learned_s >= _HOUR_S:
            self._learned_s = self._clock()
            self._learner.turn()
            self._promote("ranking", self._models.rankers)

    def by_night(self) -> None:
        if self._arm.nightly:
            work = WorkFolder(self._folder / "train")
            for outcome in train(self._models, work, self._settings, self._bar, self._arm.nightly, self._clock):
                self.nights.append([outcome.kind, outcome.result.value, outcome.reason])
        self._promote("shopper", self._models.shoppers)
        self._promote("ranking", self._models.rankers)

    def close(self) -> None:
        if self._learner is not None:
            self._store.close()

    def _promote(self, kind: str, registry: ModelRegistry) -> None:
        """What passed its guardrail serves all users, without a trial: a trial needs more visits than a month has."""
        rollout = registry.rollout()
        if (version := rollout.other) is not None:
            registry.take_step(StepKind.PROMOTED, version, lambda now: now.promoted(version), "by hand")
        current = registry.rollout().current
        if current and (name := f"{kind}/{current}") not in self.promoted:
            self.promoted.append(name)
            time.sleep(_SETTLE_S)


MEASURES: dict[str, Callable[[Rows], Rows]] = {
    "utility of ten recommended": lambda rows: rows[:, RECOMMENDED],
    "utility of ten found": lambda rows: rows[:, FOUND],
    "CTR": lambda rows: rows[:, CLICKS] / np.maximum(rows[:, SHOWN], 1),
}


def by_shopper(rows: Rows, values: Rows, shoppers: int) -> Rows:
    """[shoppers]: the mean over each one's visits; NaN without a visit with a value."""
    has = np.isfinite(values)
    of = rows[has, SHOPPER].astype(int)
    with np.errstate(invalid="ignore"):
        mean: Rows = np.bincount(of, values[has], shoppers) / np.bincount(of, minlength=shoppers)
    return mean


def returns_of(rows: Rows, shoppers: int) -> Rows:
    """[shoppers]"""
    return np.bincount(rows[:, SHOPPER].astype(int), rows[:, VALUE], shoppers).astype(np.float64)


def show(rows: Mapping[str, Rows], parts: Mapping[str, Any], shop: Shop, days: int, seed: int) -> None:
    """Figures of all days, and of the second half, in which models had something to learn from."""
    shoppers, console, first = len(shop.shoppers), Console(), next(iter(rows.values()))
    random, best = shop.bounds
    console.print(f"ten random products {random:.3f}, each shopper's best ten {best:.3f}; {shoppers} shoppers")
    for title, begin in (("all days", 0), (f"from day {days // 2 + 1} on", days // 2)):
        table = Table("", "minutes", "versions", *MEASURES, "return", title=title)
        of_first = first[first[:, DAY] >= begin]
        for name, whole in rows.items():
            own, cells = whole[whole[:, DAY] >= begin], []
            for measure in MEASURES.values():
                values, others = (by_shopper(each, measure(each), shoppers) for each in (own, of_first))
                cells.append(f"{np.nanmean(values):.3f}; {_interval(values - others, seed)}")
            returns, others = returns_of(own, shoppers), returns_of(of_first, shoppers)
            cells.append(f"{returns.mean():.1f}; {_interval(returns - others, seed)}")
            table.add_row(name, f"{parts[name]['seconds'] / 60:.1f}", str(len(parts[name]["promoted"])), *cells)
        console.print(table)


def _interval(differences: Rows, seed: int) -> str:
    """Of the mean of paired differences."""
    low, high = mean_interval(differences, seed, 3)
    return f"{np.nanmean(differences):+.3f} ({low:+.3f} to {high:+.3f})"


def plot(rows: Mapping[str, Rows], shop: Shop, path: Path, seed: int) -> None:
    """The measures by day, as means over three days, with intervals over their visits."""
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, axes = pyplot.subplots(1, len(MEASURES), figsize=(5 * len(MEASURES), 4), layout="constrained")
    for axis, (title, measure) in zip(axes, MEASURES.items(), strict=True):
        for name, own in rows.items():
            periods = own[:, DAY] // _PERIOD
            by_period = {period: measure(own[periods == period]) for period in np.unique(periods)}
            # Of the first visits to an empty shop there may be no recommended product.
            known = {period: values for period, values in by_period.items() if np.isfinite(values).any()}
            days = [period * _PERIOD + (_PERIOD + 1) / 2 for period in known]
            (line,) = axis.plot(days, [np.nanmean(values) for values in known.values()], label=name)
            low, high = zip(*(mean_interval(values, seed) for values in known.values()), strict=True)
            axis.fill_between(days, low, high, alpha=0.15, color=line.get_color())
        axis.set(title=title, xlabel="day")
    for bound in shop.bounds:
        axes[0].axhline(bound, linestyle=":", color="grey")
    chart.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    chart.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
