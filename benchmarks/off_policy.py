"""Off-policy estimators on the Open Bandit sample, and on simulated logs of policies with known values.

    python -m benchmarks.off_policy --data DATA/open_bandit --out O.json

DATA/open_bandit holds logs of a random policy and of Bernoulli Thompson sampling, of 10,000 rows each, in two
categories. The value of the second policy is estimated from the log of the first; its own log says what it is. On
simulated logs, the estimators' errors and the coverage of their intervals are measured. Finished parts are kept in the
file of results, and a later run continues from it.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.off_policy_logs import PLACES, BanditWorld, SlateLog, SlateWorld, inverse
from benchmarks.off_policy_open_bandit import CAMPAIGNS, PUBLISHED, relative_errors
from benchmarks.results import Results
from training.evaluation import slates
from training.evaluation.estimates import Doubles, Estimate
from training.evaluation.estimators import ESTIMATORS, Overlap

SIZES = (2_000, 8_000)
# World of the simulated bandit: its policies and rates.
_WORLD = 1


def measure(results: Results, data: Path, logs: int, draws: int) -> None:
    for campaign in tqdm(CAMPAIGNS, desc="open bandit", unit="campaign"):
        results.part(f"open bandit {campaign}", partial(relative_errors, data, campaign, draws))
    for size in tqdm(SIZES, desc="bandit", unit="size"):
        results.part(f"bandit {size}", partial(_bandit, size, logs))
        results.part(f"slates {size}", partial(_slates, size, logs))


def _bandit(size: int, logs: int) -> dict[str, Any]:
    world = BanditWorld.of(_WORLD)
    value, found, effective = world.value(), _Errors(), []
    for seed in tqdm(range(logs), desc=f"logs of {size:,} decisions", unit="log", leave=False):
        log = world.log(size, seed)
        effective.append(Overlap.of(log.weights).effective)
        for name, estimator in ESTIMATORS.items():
            found.add(name, estimator(log), value)
    return {"value": value, "effective": float(np.mean(effective)), "estimators": found.summary()}


def _slates(size: int, logs: int) -> dict[str, Any]:
    world, found, values = SlateWorld(), _Errors(), []
    for seed in tqdm(range(logs), desc=f"logs of {size:,} slates", unit="log", leave=False):
        log, value = world.log(size, seed)
        values.append(value)
        units = np.arange(size)
        for name, terms in slate_terms(log, world.examination).items():
            found.add(name, Estimate.of_sums(terms, units, units), value)
    return {"value": float(np.mean(values)), "estimators": found.summary()}


def slate_terms(log: SlateLog, examination: Doubles) -> dict[str, Doubles]:
    """By estimator, [n]: the mean over slates is its value."""
    total = log.rewards.sum(axis=1)
    # [n, shown place, place]: whether the target puts the shown product at the place.
    target = (log.target[:, np.newaxis, :] == log.shown[:, :, np.newaxis]).astype(np.float64)
    by_place = [slates.position_based(target[:, at], log.logging[:, at], examination) for at in range(PLACES)]
    return {
        "standard": slates.standard(log.conditional) * total,
        "interaction": (slates.interaction(log.conditional) * log.rewards).sum(axis=1),
        "independent": (log.marginal * log.rewards).sum(axis=1),
        "position-based": (np.stack(by_place, axis=1) * log.rewards).sum(axis=1),
        "pseudo-inverse": slates.pseudo_inverse(log.target, log.shown, inverse()) * total,
    }


class _Errors:
    """Errors and covered intervals of estimators over many logs."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[float, bool]]] = {}

    def add(self, name: str, found: Estimate, value: float) -> None:
        low, high = found.interval()
        self._rows.setdefault(name, []).append((found.value - value, low <= value <= high))

    def summary(self) -> dict[str, dict[str, float]]:
        """With the 95 % interval of the coverage itself (Wilson)."""
        made = {}
        for name, rows in self._rows.items():
            errors, covered = np.array([row[0] for row in rows]), np.mean([row[1] for row in rows])
            low, high = _wilson(float(covered), len(rows))
            made[name] = {
                "bias": float(errors.mean()), "rmse": float(np.sqrt(np.square(errors).mean())),
                "coverage": float(covered), "coverage_low": low, "coverage_high": high,
            }  # fmt: skip
        return made


def _wilson(share: float, count: int) -> tuple[float, float]:
    z = 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float(middle - half), float(middle + half)


def report(parts: dict[str, Any], console: Console) -> None:
    table = Table("relative error", *CAMPAIGNS, "published, full data, absolute", box=None)
    for name in ESTIMATORS:
        cells = []
        for campaign in CAMPAIGNS:
            found = parts[f"open bandit {campaign}"][name]
            cells.append(f"{found['error']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})")
        table.add_row(name, *cells, f"{PUBLISHED[name]:.3f}" if name in PUBLISHED else "")
    console.print(table)
    for kind in ("bandit", "slates"):
        for size in SIZES:
            found = parts[f"{kind} {size}"]
            table = Table(f"{kind}, {size:,}", "bias", "RMSE", "coverage of 95 %", box=None)
            for name, row in found["estimators"].items():
                cover = f"{row['coverage']:.1%} ({row['coverage_low']:.1%}-{row['coverage_high']:.1%})"
                table.add_row(name, f"{row['bias']:+.4f}", f"{row['rmse']:.4f}", cover)
            console.print(table)


def plot(parts: dict[str, Any], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for axis, kind in zip(axes, ("bandit", "slates"), strict=True):
        for size in SIZES:
            rows = parts[f"{kind} {size}"]["estimators"]
            axis.scatter([row["rmse"] for row in rows.values()], list(rows), label=f"{size:,}")
        axis.set_xscale("log")
        axis.set_xlabel("RMSE of the estimated value")
        axis.set_title(f"simulated {kind}")
        axis.legend(title="log")
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the logs of the Open Bandit sample")
    parser.add_argument("--logs", type=int, default=1_000, help="simulated logs of each size")
    parser.add_argument("--draws", type=int, default=500, help="bootstrap draws of both logs of the Open Bandit sample")
    parser.add_argument("--out", type=Path, required=True, help="JSON file with the results")
    parser.add_argument("--plot", type=Path, help="PNG file with the errors of the estimators")
    given = parser.parse_args()
    results = Results(given.out, {"logs": given.logs, "draws": given.draws, "sizes": SIZES})
    measure(results, given.data, given.logs, given.draws)
    report(results.parts, Console())
    if given.plot:
        plot(results.parts, given.plot)


if __name__ == "__main__":
    main()
