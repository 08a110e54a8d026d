"""Qini of uplift learners on the randomised e-mail campaign of Hillstrom, against random and a two-model baseline.

    python -m benchmarks.uplift --data DATA/hillstrom --out U.json

DATA/hillstrom holds hillstrom.csv.gz: 64,000 customers in three arms. Each e-mail, and both together, is compared with
no e-mail; scores are those of models that have not seen the customer. Finished parts are kept in the file of results,
and a later run continues from it.
"""

from __future__ import annotations

import argparse
import csv
import gzip
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.results import Results
from training.evaluation.estimates import Doubles, Integers
from training.evaluation.qini import compared, curve
from training.evaluation.uplift import BASELINE, LEARNERS, uplifts

_CONTROL = "No E-Mail"
ARMS = {"either": ("Mens E-Mail", "Womens E-Mail"), "mens": ("Mens E-Mail",), "womens": ("Womens E-Mail",)}
OUTCOMES = ("visit", "conversion", "spend")
_POINTS = 101


@dataclass(frozen=True)
class Customers:
    features: Doubles
    arms: np.ndarray[Any, np.dtype[np.str_]]
    outcomes: dict[str, Doubles]

    def trial(self, treatments: tuple[str, ...], outcome: str) -> tuple[Doubles, Integers, Doubles]:
        """(features, treated, outcomes)"""
        rows = np.isin(self.arms, [_CONTROL, *treatments])
        treated = np.isin(self.arms[rows], treatments).astype(np.int64)
        return self.features[rows], treated, self.outcomes[outcome][rows]


def read(data: Path) -> Customers:
    with gzip.open(data / "hillstrom.csv.gz", "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [[float(row[name]) for row in rows] for name in ("recency", "history", "mens", "womens", "newbie")]
    for name in ("zip_code", "channel"):
        columns += [[float(row[name] == value) for row in rows] for value in sorted({row[name] for row in rows})]
    outcomes = {name: np.array([float(row[name]) for row in rows]) for name in OUTCOMES}
    return Customers(np.array(columns).T, np.array([row["segment"] for row in rows]), outcomes)


def measure(results: Results, data: Path, seeds: int, draws: int) -> None:
    customers = read(data)
    pairs = [(arm, outcome) for arm in ARMS for outcome in OUTCOMES]
    for arm, outcome in tqdm(pairs, desc="trials", unit="trial"):
        results.part(f"{arm} {outcome}", partial(_measured, customers, arm, outcome, seeds, draws))


def _measured(customers: Customers, arm: str, outcome: str, seeds: int, draws: int) -> dict[str, Any]:
    features, treated, outcomes = customers.trial(ARMS[arm], outcome)
    scores = {}
    for name, learner in tqdm(LEARNERS.items(), desc="learners", unit="learner", leave=False):
        # The mean over divisions into folds: one division is one more chance.
        scores[name] = np.mean([uplifts(learner, features, treated, outcomes, seed) for seed in range(seeds)], axis=0)
    found = compared(scores, BASELINE, treated, outcomes, draws=draws)
    at = np.linspace(0, len(treated) - 1, _POINTS).astype(int)
    return {
        "customers": len(treated),
        "effect": float(outcomes[treated == 1].mean() - outcomes[treated == 0].mean()),
        "qini": {name: asdict(each) for name, each in found.items()},
        "curves": {name: curve(of, treated, outcomes)[at].tolist() for name, of in scores.items()},
    }


def report(parts: dict[str, Any], console: Console) -> None:
    for outcome in OUTCOMES:
        table = Table(f"Qini x 1,000, {outcome}", "e-mail", "95 %", "- two-model", "95 %", box=None)
        for arm in ARMS:
            for name, found in parts[f"{arm} {outcome}"]["qini"].items():
                difference, low, high = (1_000 * each for each in found["above_baseline"])
                table.add_row(
                    f"{name} {1_000 * found['value']:.2f}", arm,
                    f"{1_000 * found['low']:.2f} to {1_000 * found['high']:.2f}",
                    *(("", "") if name == BASELINE else (f"{difference:+.2f}", f"{low:+.2f} to {high:+.2f}")),
                )  # fmt: skip
        console.print(table)


def plot(parts: dict[str, Any], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(ARMS), figsize=(11, 3.4), sharey=True)
    share = np.linspace(0, 100, _POINTS)
    for axis, arm in zip(axes, ARMS, strict=True):
        part = parts[f"{arm} visit"]
        for name, gains in part["curves"].items():
            axis.plot(share, 100 * np.array(gains), label=name)
        axis.plot([0, 100], [0, 100 * part["effect"]], "k--", label="random")
        axis.set_title(f"{arm}: {part['customers']:,} customers")
        axis.set_xlabel("% of customers with an e-mail")
    axes[0].set_ylabel("more visits of 100 customers")
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with hillstrom.csv.gz")
    parser.add_argument("--seeds", type=int, default=5, help="divisions into folds, whose mean is the score")
    parser.add_argument("--draws", type=int, default=500, help="bootstrap draws of the customers")
    parser.add_argument("--out", type=Path, required=True, help="JSON file with the results")
    parser.add_argument("--plot", type=Path, help="PNG file with the Qini curves")
    given = parser.parse_args()
    results = Results(given.out, {"seeds": given.seeds, "draws": given.draws})
    measure(results, given.data, given.seeds, given.draws)
    report(results.parts, Console())
    if given.plot:
        plot(results.parts, given.plot)


if __name__ == "__main__":
    main()
