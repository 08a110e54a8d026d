"""Tastes that turn and turn back: the shopper model, trained each night on the whole log or on its newest days only.

    python -m benchmarks.continual_tastes --out R.json [--days-of-season 4] [--persons 150] [--seeds 3]

A shop of shelves. In summer persons go on from one shelf to another one, in winter to a third: the shelf that follows
turns after --days-of-season days, and turns back after as many. Each day other persons come, with four products of a
shelf and of the ones that follow. Each night three models are made:

with replay      trained on all days so far
without replay   trained on the last two days
frozen           that of the first night

Each day is predicted by the models of the night before it: NDCG@10 of each person's last product, whose history of the
same day the model reads at request time. A model may therefore know the season from the person's own events, if its
training has shown it both. R.json keeps finished seeds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.results import Results
from training.shopper.data import Catalogue, IntArray, ShopperLog
from training.shopper.evaluation import gains, ranks
from training.shopper.model import ShopperModel
from training.shopper.settings import NetworkSettings, TrainSettings
from training.shopper.train import fit
from training.shopper.windows import Windows

_SHELVES, _OF_SHELF, _STEPS = 12, 10, 4
_NEWEST_DAYS = 2
METHODS = ("with replay", "without replay", "frozen")
SETTINGS = TrainSettings(
    NetworkSettings(width=32, dropout=0.2), epochs=25, learning_rate=5e-3, patience=4, average_epochs=1.5,
    warm_up_steps=20,
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--days-of-season", type=int, default=4)
    parser.add_argument("--persons", type=int, default=150, help="new ones each day")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    days = 3 * arguments.days_of_season
    results = Results(arguments.out, {"days": days, "persons": arguments.persons})
    for seed in range(arguments.seeds):
        results.part(f"seed {seed}", partial(prequential, arguments.days_of_season, arguments.persons, seed))
    show([results.parts[f"seed {seed}"] for seed in range(arguments.seeds)], arguments.days_of_season)
    return 0


def prequential(season: int, persons: int, seed: int) -> dict[str, list[float]]:
    """By method: NDCG@10 of each day from the second."""
    random = np.random.default_rng(seed)
    follows = [_cycle(random), _cycle(random)]
    of = Catalogue([f"p{item}" for item in range(_SHELVES * _OF_SHELF)])
    days = [day_of(follows[(day // season) % 2], persons, random) for day in range(3 * season)]
    found: dict[str, list[float]] = {method: [] for method in METHODS}
    frozen: ShopperModel | None = None
    for today in tqdm(range(1, len(days)), desc=f"seed {seed}", unit=" days"):
        replayed = trained(days[:today], of, seed)
        frozen = frozen or replayed
        models = (replayed, trained(days[max(0, today - _NEWEST_DAYS) : today], of, seed), frozen)
        for method, model in zip(METHODS, models, strict=True):
            found[method].append(measured(model, days[today], of))
    return found


def day_of(follows: IntArray, persons: int, random: np.random.Generator) -> list[IntArray]:
    """Products of each person: of a shelf, of the one that follows, and so on."""
    shelves = random.integers(0, _SHELVES, persons)
    steps = []
    for _ in range(_STEPS):
        steps.append(shelves * _OF_SHELF + random.integers(0, _OF_SHELF, persons))
        shelves = follows[shelves]
    return list(np.stack(steps, axis=1))


def trained(days: Sequence[list[IntArray]], of: Catalogue, seed: int) -> ShopperModel:
    log = ShopperLog.of_sequences([own for day in days for own in day])
    settings = TrainSettings(**{**vars(SETTINGS), "seed": seed})
    with tempfile.TemporaryDirectory() as folder:
        return fit(log, of, settings, Path(folder)).model


def measured(model: ShopperModel, day: list[IntArray], of: Catalogue) -> float:
    log = ShopperLog.of_sequences(day)
    events = log.newest_targets()
    return float(gains(ranks(model.scorer(Windows(log, of.size)), log, events)).mean())


def _cycle(random: np.random.Generator) -> IntArray:
    """[shelves]: the shelf that follows each, all in one circle."""
    order = random.permutation(_SHELVES)
    follows = np.empty(_SHELVES, np.int64)
    follows[order] = np.roll(order, -1)
    return follows


def show(seeds: Sequence[dict[str, list[float]]], season: int) -> None:
    table = Table("", "summer", "first day of winter", "winter after", "first day back", "summer after")
    for method in METHODS:
        days = np.mean([own[method] for own in seeds], axis=0)
        parts = (
            days[: season - 1], days[season - 1 : season], days[season : 2 * season - 1],
            days[2 * season - 1 : 2 * season], days[2 * season :],
        )  # fmt: skip
        table.add_row(method, *(f"{part.mean():.3f}" for part in parts))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
