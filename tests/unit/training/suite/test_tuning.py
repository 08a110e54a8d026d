"""Searching settings, and fitting on a Ray cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.unit.training.shopper.shop import QUICK, catalogue, cyclic_log
from tests.unit.training.suite.shop import bar
from training.shopper.data import Catalogue, ShopperLog
from training.shopper.settings import TrainSettings
from training.shopper.train import Progress, Trained, no_progress
from training.suite.fitting import OnRay
from training.suite.tuning import tuned


class Guessing:
    """Finds a width of 64 and a dropout near .4 best, without fitting."""

    at_once = 3

    def __init__(self, most: int = 1_000) -> None:
        self.tried: list[TrainSettings] = []
        self._most = most

    def fit(
        self, log: ShopperLog, catalogue: Catalogue, settings: TrainSettings, folder: Path, progress: Progress
    ) -> Trained:
        raise NotImplementedError

    def validated(
        self, log: ShopperLog, catalogue: Catalogue, tried: Sequence[TrainSettings], folder: Path
    ) -> list[float]:
        if len(self.tried) + len(tried) > self._most:
            raise KeyboardInterrupt
        self.tried += tried
        return [(one.network.width == 64) - abs(one.network.dropout - 0.4) for one in tried]


def search(fitter: Guessing, folder: Path, trials: int = 24) -> TrainSettings:
    start = replace(QUICK, network=replace(QUICK.network, width=32))
    return tuned(cyclic_log(), catalogue(), start, trials, fitter, folder, bar())


def test_the_best_settings_are_found(tmp_path: Path) -> None:
    """The given settings are tried first, and the best of all are returned."""
    fitter = Guessing()
    best = search(fitter, tmp_path)
    assert len(fitter.tried) == 24
    assert fitter.tried[0].network.dropout == QUICK.network.dropout
    assert best.network.width == 64
    assert abs(best.network.dropout - 0.4) < 0.15


def test_a_killed_search_continues(tmp_path: Path) -> None:
    """What was tried before is not tried again."""
    stopped = Guessing(most=12)
    with contextlib.suppress(KeyboardInterrupt):
        search(stopped, tmp_path)
    later = Guessing()
    search(later, tmp_path)
    assert len(stopped.tried) + len(later.tried) == 24


class FakeRay:
    """Runs each task at once, in this process."""

    def __init__(self) -> None:
        self.tasks = 0

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0}

    def put(self, value: Any) -> Any:
        return value

    def get(self, found: Any) -> Any:
        return found

    def remote(self, function: Callable[..., Any]) -> Any:
        ray = self

        class Task:
            def remote(self, *arguments: Any) -> Any:
                ray.tasks += 1
                return function(*arguments)

        return Task()


def test_fits_are_tasks_of_the_cluster(tmp_path: Path) -> None:
    """As many fits run beside each other as the cluster has CPUs, and a fit gives what it gives here."""
    ray = FakeRay()
    fitter = OnRay(ray)
    assert fitter.at_once == 4
    quick = replace(QUICK, epochs=1)
    log, products = cyclic_log(persons=40), catalogue()
    assert len(fitter.validated(log, products, [quick, quick], tmp_path)) == 2
    trained = fitter.fit(log, products, quick, tmp_path, no_progress)
    assert trained.epochs == 1
    assert ray.tasks == 3
