"""Thirty days of a shop that starts with an empty log: how good its pages become, by what learns from the log.

    python -m benchmarks.thirty_days --out R.json [--plot R.png] [--arms "hand-set weights" "fitted weights"]

The demo shop and its simulated shoppers, of seeds that nothing was chosen on. Each day shoppers visit through the
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
6 for a purchase. Each seed is a shop of its own, with other products and shoppers; all its arms have the same visits
and the same chance. Differences are paired with the first arm. Their intervals are 95 %, by the bootstrap over the
shoppers of all seeds; the difference of each seed stands beside them, since what one shop's shoppers do depends on each
other. R.json keeps finished runs, a seed after the other; a later call with more seeds or arms adds to it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
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
from benchmarks.thirty_days_shop import TIMEOUT_S, Clock, Outcome, Shop, Visitor
from demo.catalogue import build_catalogue
from demo.loading import load_products
from demo.shoppers import build_shoppers
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.learner.learner import Learner
from services.learner.metrics import LearnerMetrics
from services.learner.settings import GuardrailSettings, LearnerSettings, TrainingSettings
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_store
from training.bootstrap import mean_interval
from training.suite.outcome import Outcome as TrainOutcome
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
# Until the ranker has read the registry, which it looks at twice a second.
_POLL_S, _SETTLE_S = 0.5, 2.0
# Pages with a click, and lists, from which a ranking model is trained, nightly or by the learner: a month of this shop
# has fewer than the defaults ask for. The guardrails are the same.
_LEAST_LEARNED = 300
# Days of a point of the plot.
_PERIOD = 3
DAY, SHOPPER, RECOMMENDED, FOUND, SHOWN, CLICKS, VALUE, SEED = range(8)


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
    parser.add_argument("--shoppers", type=int, default=120)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seeds", type=int, nargs="*", default=[4_201, 4_202, 4_203])
    arguments = parser.parse_args()
    settings = {name: getattr(arguments, name) for name in ("products", "shoppers", "days")}
    results = Results(arguments.out, settings)
    shops = {seed: shop_of(seed, arguments.products, arguments.shoppers) for seed in arguments.seeds}
    for seed, shop in shops.items():
        for name in arguments.arms:
            results.part(part_of(name, seed), partial(measured, name, shop, arguments.days))
    study = Study.of(shops, arguments.arms, results.parts)
    show(study, arguments.days)
    if arguments.plot:
        plot(study, arguments.plot)
    return 0


def shop_of(seed: int, products: int, shoppers: int) -> Shop:
    catalogue = build_catalogue(seed, products)
    return Shop(catalogue, build_shoppers(catalogue, shoppers, seed), seed)


def part_of(arm: str, seed: int) -> str:
    """The name of a run in the results."""
    return f"{arm}, seed {seed}"


def measured(name: str, shop: Shop, days: int) -> dict[str, Any]:
    """The arm's visits, what each night's training gave, the versions that were promoted, and its time."""
    # 20 s are a day or more of the shop.
    os.environ["KAIROS_GATEWAY_SEARCH__POPULAR_REFRESH_S"] = "10"
    arm, clock, random, began = ARMS[name], Clock(), Random(), time.monotonic()
    ranker = {"informed_exploration": arm.exploration, "registry_poll_s": _POLL_S}
    with (
        tempfile.TemporaryDirectory(prefix="kairos-days-") as made,
        in_process_suite(Path(made), ranker=ranker, clock=clock, random=random) as suite,
    ):
        folder, connection = Path(made), Connection(suite.gateway_target, timeout_s=TIMEOUT_S)
        load_products(connection, folder, shop.products)
        training = _ArmTraining(arm, connection, folder, clock)
        outcomes = list[Outcome]()
        with connection.stub() as stub, tqdm(total=days, desc=name, unit=" days") as bar:
            visitor = Visitor(shop, stub, clock, random)
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
        training=TrainingSettings(least_clicked=_LEAST_LEARNED),
        guardrail=GuardrailSettings(pages=200, least_held=100),
    )


class Training:
    """`kairos train --small` on a suite whose data are in `folder`."""

    def __init__(self, connection: Connection, folder: Path, clock: Clock) -> None:
        self.settings = RankerSettings(data_dir=folder / "ranker")
        self.models = Suite(connection, self.settings.models_dir, TENANT, self.settings.serving_weights)
        self._work, self._clock, self._bar = WorkFolder(folder / "train"), clock, Progress(Console(), quiet=True)
        chosen = settings_for(small=True, minutes=_MINUTES)
        self._chosen = replace(chosen, least=replace(chosen.least, pages=_LEAST_LEARNED, lists=_LEAST_LEARNED))

    def run(self, kinds: Sequence[str]) -> list[TrainOutcome]:
        return train(self.models, self._work, self._chosen, self._bar, kinds, self._clock)


def promote(registry: ModelRegistry) -> str:
    """What passed its guardrail serves all users, without a trial: a trial needs more visits than a month has.

    The current version; empty if there is none.
    """
    if (version := registry.rollout().other) is not None:
        registry.take_step(StepKind.PROMOTED, version, lambda now: now.promoted(version), "by hand")
    return registry.rollout().current


class _ArmTraining:
    """What an arm trains, and promotes."""

    def __init__(self, arm: Arm, connection: Connection, folder: Path, clock: Clock) -> None:
        self._arm, self._clock, self._training = arm, clock, Training(connection, folder, clock)
        self.promoted, self.nights = list[str](), list[list[str]]()
        self._learner, self._learned_s = None, clock()
        if arm.has_learner:
            models, settings = self._training.models, self._training.settings
            self._store = build_store(settings)
            self._learner = Learner(
                self._store, models.rankers, models.shoppers, settings.serving_weights,
                learner_settings(folder / "learner"), LearnerMetrics(), clock,
            )  # fmt: skip

    def by_day(self) -> None:
        if self._learner is not None and self._clock() - self._learned_s >= _HOUR_S:
            self._learned_s = self._clock()
            self._learner.turn()
            self._promote(("ranking",))

    def by_night(self) -> None:
        if self._arm.nightly:
            for outcome in self._training.run(self._arm.nightly):
                self.nights.append([outcome.kind, outcome.result.value, outcome.reason])
        self._promote(("shopper", "ranking"))

    def close(self) -> None:
        if self._learner is not None:
            self._store.close()

    def _promote(self, kinds: Sequence[str]) -> None:
        models = self._training.models
        for kind in kinds:
            current = promote(models.shoppers if kind == "shopper" else models.rankers)
            if current and (name := f"{kind}/{current}") not in self.promoted:
                self.promoted.append(name)
                time.sleep(_SETTLE_S)


MEASURES: dict[str, Callable[[Rows], Rows]] = {
    "utility of ten recommended": lambda rows: rows[:, RECOMMENDED],
    "utility of ten found": lambda rows: rows[:, FOUND],
    "CTR": lambda rows: rows[:, CLICKS] / np.maximum(rows[:, SHOWN], 1),
}


@dataclass(frozen=True)
class Study:
    """The visits of each arm, of all seeds; shoppers are numbered through all shops. `bounds`: as `Shop.bounds`."""

    rows: Mapping[str, Rows]
    minutes: Mapping[str, float]
    versions: Mapping[str, int]
    seeds: int
    shoppers: int
    bounds: tuple[float, float]

    @classmethod
    def of(cls, shops: Mapping[int, Shop], arms: Sequence[str], parts: Mapping[str, Any]) -> Study:
        size = len(next(iter(shops.values())).shoppers)

        def visits(name: str, number: int, seed: int) -> Rows:
            rows = np.array(parts[part_of(name, seed)]["visits"], np.float64)
            rows[:, SHOPPER] += number * size
            return np.column_stack([rows, np.full(len(rows), number)])

        def total(name: str, of: Callable[[Any], float]) -> float:
            return sum(of(parts[part_of(name, seed)]) for seed in shops)

        random, best = np.mean([shop.bounds for shop in shops.values()], axis=0)
        return cls(
            {name: np.concatenate([visits(name, *each) for each in enumerate(shops)]) for name in arms},
            {name: total(name, lambda part: part["seconds"] / 60 / len(shops)) for name in arms},
            {name: round(total(name, lambda part: len(part["promoted"]))) for name in arms},
            len(shops), size * len(shops), (float(random), float(best)),
        )  # fmt: skip

    def by_shopper(self, rows: Rows, values: Rows) -> Rows:
        """[shoppers]: the mean over each one's visits; NaN without a visit with a value."""
        has = np.isfinite(values)
        of = rows[has, SHOPPER].astype(int)
        with np.errstate(invalid="ignore"):
            mean: Rows = np.bincount(of, values[has], self.shoppers) / np.bincount(of, minlength=self.shoppers)
        return mean

    def returns(self, rows: Rows) -> Rows:
        """[shoppers]"""
        return np.bincount(rows[:, SHOPPER].astype(int), rows[:, VALUE], self.shoppers).astype(np.float64)

    def of_seeds(self, differences: Rows) -> Rows:
        """[seeds]: means over the shoppers of each."""
        means: Rows = np.nanmean(differences.reshape(self.seeds, -1), axis=1)
        return means


def show(study: Study, days: int) -> None:
    """Figures of all days, and of the second half, in which models had something to learn from."""
    console, first = Console(), next(iter(study.rows.values()))
    console.print("ten random products {:.3f}, each shopper's best ten {:.3f}".format(*study.bounds))
    console.print(f"{study.seeds} seeds, {study.shoppers} shoppers, {len(first):,} visits in each arm")
    for title, begin in (("all days", 0), (f"from day {days // 2 + 1} on", days // 2)):
        table = Table("", "measure", "mean", "difference (95 %)", "of each seed", title=title)
        of_first = first[first[:, DAY] >= begin]
        for name, whole in study.rows.items():
            own = whole[whole[:, DAY] >= begin]
            measured = {
                title: [study.by_shopper(rows, measure(rows)) for rows in (own, of_first)]
                for title, measure in MEASURES.items()
            } | {"return of a shopper": [study.returns(rows) for rows in (own, of_first)]}
            label = f"{name}\n{study.minutes[name]:.1f} minutes a run, {study.versions[name]} versions"
            for measure, (values, others) in measured.items():
                digits = 4 if measure == "CTR" else 3
                differences = values - others
                low, high = mean_interval(differences, 0, digits)
                table.add_row(
                    label, measure, f"{np.nanmean(values):.{digits}f}",
                    f"{np.nanmean(differences):+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})",
                    " ".join(f"{value:+.{digits}f}" for value in study.of_seeds(differences)),
                )  # fmt: skip
                label = ""
            table.add_section()
        console.print(table)


def plot(study: Study, path: Path) -> None:
    """The measures by day, as means over three days: above of each arm, below the paired differences to the first."""
    mpl.use("Agg")
    from matplotlib import pyplot

    chart, axes = pyplot.subplots(2, len(MEASURES), figsize=(5 * len(MEASURES), 7), sharex=True, layout="constrained")
    for column, (title, measure) in enumerate(MEASURES.items()):
        first = None
        for name, rows in study.rows.items():
            periods = rows[:, DAY] // _PERIOD
            known = np.unique(periods)
            days = known * _PERIOD + (_PERIOD + 1) / 2
            values = [study.by_shopper(rows[periods == each], measure(rows[periods == each])) for each in known]
            first = values if first is None else first
            differences = [own - other for own, other in zip(values, first, strict=True)]
            for axis, shown in zip(axes[:, column], (values, differences), strict=True):
                (line,) = axis.plot(days, [np.nanmean(each) for each in shown], label=name)
                low, high = zip(*(mean_interval(each, 0) for each in shown), strict=True)
                axis.fill_between(days, low, high, alpha=0.12, color=line.get_color())
        axes[0, column].set(title=title)
        axes[1, column].set(xlabel="day", ylabel="minus the first arm" if column == 0 else "")
    for axis in axes[0, :2]:
        for bound in study.bounds:
            axis.axhline(bound, linestyle=":", color="grey")
    chart.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    chart.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
