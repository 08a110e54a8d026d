"""Prices learned from sales: elasticity, prediction, confounding, and policies in a simulated shop.

    python -m benchmarks.pricing --data DATA/oj_scanner --out P.json

DATA/oj_scanner holds weekly sales of 11 orange juices in 83 stores. Finished parts are kept in the file of results, and
a later run continues from it. The policies run in a shop with 400 products for 90 days, which is calibrated on the
data, under all guardrails and under the bounds of the ladder alone. A clairvoyant under the same bounds is the measure.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import t as student
from tqdm import tqdm

from benchmarks.pricing_confounding import measure_confounding
from benchmarks.pricing_data import read_sales
from benchmarks.pricing_policies import Learner, learners, run
from benchmarks.pricing_prediction import METHODS, measure_elasticity, measure_prediction, steps
from benchmarks.pricing_shop import Calibration, Shop
from benchmarks.results import Results

_LAST_DAYS = 30
# What runs beside the shop with the margins of the data under all guardrails, where every policy does: in it under the
# bounds of the ladder alone, and in a shop whose list prices are the best ones for each category.
_LADDER_ONLY = ("clairvoyant", "fixed", "ours")
_BEST_LISTS = ("clairvoyant", "fixed", "ours")


def measure(results: Results, data: Path, seeds: Sequence[int], days: int, products: int) -> None:
    sales = read_sales(data)
    results.part("elasticity", lambda: measure_elasticity(sales))
    with tqdm(total=steps(), desc="prediction", unit="fit") as bar:
        results.part("prediction", lambda: measure_prediction(sales, 0, bar.update))
    for seed in tqdm(seeds, desc="confounding", unit="log"):
        results.part(f"confounding {seed}", partial(measure_confounding, seed))
    runs = [
        (seed, name, is_guarded, has_best_lists)
        for has_best_lists, is_guarded, names in (
            (False, True, tuple(learners(0))),
            (False, False, _LADDER_ONLY),
            (True, True, _BEST_LISTS),
            (True, False, ("clairvoyant",)),
        )
        for seed in seeds
        for name in names
    ]
    truth = Calibration.from_json(results.part("calibration", lambda: Calibration.of(sales).to_json()))
    for seed, name, is_guarded, has_best_lists in tqdm(runs, desc="policies", unit="run"):
        make = partial(_run, truth, learners(seed)[name], seed, days, products, is_guarded, has_best_lists)
        results.part(_name(seed, name, is_guarded, has_best_lists), make)


def _run(
    truth: Calibration, make: Callable[[Shop], Learner], seed: int, days: int, products: int, is_guarded: bool,
    has_best_lists: bool,
) -> dict[str, Any]:  # fmt: skip
    shop = Shop(truth, seed, days, products, has_best_lists)
    made = run(shop, make(shop), is_guarded)
    return {"margin": made.margin.round(3).tolist(), "propose_ms": made.propose_ms}


def _name(seed: int, policy: str, is_guarded: bool, has_best_lists: bool) -> str:
    rails, lists = "guarded" if is_guarded else "ladder only", "best list prices" if has_best_lists else "margins"
    return f"{lists}, {rails}, {policy}, {seed}"


def mean_and_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its 95 % interval, by Student's t over the seeds."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return mean, float("-inf"), float("inf")
    half = float(student.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
    return mean, mean - half, mean + half


class Shares:
    """Margins of the policies as shares of a clairvoyant's, seed by seed."""

    def __init__(self, parts: dict[str, Any], seeds: Sequence[int], has_best_lists: bool) -> None:
        self._parts, self._seeds, self._best = parts, seeds, has_best_lists

    def margin(self, policy: str, is_guarded: bool, last: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
        """By seed; of the `last` days, or all."""
        rows = [self._parts[_name(seed, policy, is_guarded, self._best)]["margin"][-last:] for seed in self._seeds]
        return np.asarray(np.array(rows).sum(axis=1), dtype=np.float64)

    def share(self, policy: str, is_guarded: bool, last: int = 0, is_free: bool = False) -> list[float]:
        """Of a clairvoyant under the same bounds as the policy, or, `is_free`, under those of the ladder alone."""
        of = self.margin("clairvoyant", is_guarded and not is_free, last)
        return [float(value) for value in self.margin(policy, is_guarded, last) / of]

    def gap_ratio(self, policy: str, is_guarded: bool, last: int = 0) -> list[float]:
        """The gap to the clairvoyant as a share of the gap of fixed prices: 1 is no better than these."""
        own, fixed = self.share(policy, is_guarded, last), self.share("fixed", is_guarded, last)
        return [(1 - one) / (1 - other) for one, other in zip(own, fixed, strict=True)]

    def policies(self, is_guarded: bool) -> list[str]:
        every = learners(self._seeds[0])
        return [name for name in every if _name(self._seeds[0], name, is_guarded, self._best) in self._parts]


def report(parts: dict[str, Any], seeds: Sequence[int], console: Console) -> None:
    elasticity = parts["elasticity"]
    console.print(
        f"Elasticity, juices 1, 5 and 10: pooled regression {elasticity['pooled']:.3f} ({elasticity['error']:.1%} from "
        f"-3.14); demand model {elasticity['price']['known juices']:.2f}, with advertisements and weeks removed "
        f"{elasticity['price_promotion_week']['known juices']:.2f}"
    )
    table = Table("log sales, RMSE", *METHODS, "ours - best other, 95 %", box=None)
    for name, found in parts["prediction"].items():
        best = min((method for method in METHODS if method != "ours"), key=lambda method: found[method]["rmse"])
        low, high = found[best]["interval"]
        difference = f"{found[best]['ours_minus']:+.4f} ({low:+.4f} to {high:+.4f}), {best}"
        table.add_row(name, *(f"{found[method]['rmse']:.4f}" for method in METHODS), difference)
    console.print(table)
    errors = [parts[f"confounding {seed}"] for seed in seeds]
    table = Table("confounded log, error of the elasticity", "mean", "worst", box=None)
    for method in ("plain", "linear", "double_ml"):
        values = [found[method] for found in errors]
        table.add_row(method, f"{statistics.mean(values):.1%}", f"{max(values):.1%}")
    console.print(table)
    for has_best_lists in (False, True):
        shares = Shares(parts, seeds, has_best_lists)
        for is_guarded in (True, False):
            if "fixed" in shares.policies(is_guarded):
                console.print(_policies(parts, seeds, shares, is_guarded, has_best_lists))


def _policies(
    parts: dict[str, Any], seeds: Sequence[int], shares: Shares, is_guarded: bool, has_best_lists: bool
) -> Table:  # fmt: skip
    title = "best list prices" if has_best_lists else "margins of the data"
    title += ", all guardrails" if is_guarded else ", ladder only"
    table = Table(
        title, "90 days", f"last {_LAST_DAYS}", "of the unconstrained", "gap / gap of fixed", f"last {_LAST_DAYS}",
        "propose, ms", box=None,
    )  # fmt: skip
    for policy in shares.policies(is_guarded):
        ms = statistics.mean(
            parts[_name(seed, policy, is_guarded, has_best_lists)]["propose_ms"] for seed in seeds
        )  # fmt: skip
        table.add_row(
            policy,
            f"{statistics.mean(shares.share(policy, is_guarded)):.4f}",
            f"{statistics.mean(shares.share(policy, is_guarded, _LAST_DAYS)):.4f}",
            f"{statistics.mean(shares.share(policy, is_guarded, is_free=True)):.4f}",
            _ratio(shares.gap_ratio(policy, is_guarded)),
            _ratio(shares.gap_ratio(policy, is_guarded, _LAST_DAYS)),
            f"{ms:.1f}",
        )
    return table


def _ratio(values: Sequence[float]) -> str:
    mean, low, high = mean_and_interval(values)
    return f"{mean:.2f} ({low:.2f} to {high:.2f})"


def plot(parts: dict[str, Any], seeds: Sequence[int], file: Path) -> None:
    """The share of the clairvoyant's margin under all guardrails, day by day, mean of the seeds over a week."""
    import matplotlib.pyplot as plt

    shown = ("fixed", "ε-greedy", "Thompson without pooling", "ours")
    figure, axes = plt.subplots(figsize=(7.5, 3.6))
    best = np.mean([parts[_name(seed, "clairvoyant", True, False)]["margin"] for seed in seeds], axis=0)
    for policy in shown:
        made = np.mean([parts[_name(seed, policy, True, False)]["margin"] for seed in seeds], axis=0)
        week = np.ones(7)
        axes.plot(
            np.arange(6, len(best)) + 1, np.convolve(made, week, "valid") / np.convolve(best, week, "valid"),
            label=policy, linewidth=2 if policy == "ours" else 1.2,
        )  # fmt: skip
    axes.set(xlabel="day", ylabel="share of the clairvoyant's margin")
    axes.axhline(1.0, color="0.7", linewidth=0.8)
    axes.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1.0, 0.22))
    figure.tight_layout()
    figure.savefig(file, dpi=110, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder with orange_juice.csv.gz")
    parser.add_argument("--out", type=Path, default=Path("pricing.json"), help="JSON file of the results")
    parser.add_argument("--plot", type=Path, help="PNG file to draw")
    # Seeds up to 100 were used to develop.
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104, 105])
    parser.add_argument("--days", type=int, default=90)
    parser.add_argument("--products", type=int, default=400)
    options = parser.parse_args()
    settings = {"data": options.data.name, "days": options.days, "products": options.products}
    results = Results(options.out, settings)
    measure(results, options.data, options.seeds, options.days, options.products)
    report(results.parts, options.seeds, Console())
    if options.plot:
        plot(results.parts, options.seeds, options.plot)


if __name__ == "__main__":
    main()
