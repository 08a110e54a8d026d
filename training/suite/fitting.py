"""Where the shopper model is fitted: in this process, or as tasks of a Ray cluster."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from training.shopper.data import Catalogue, ShopperLog
from training.shopper.settings import TrainSettings
from training.shopper.train import Progress, Trained, choose, fit


class Fitter(Protocol):
    """`at_once`: fits that can run beside each other."""

    at_once: int

    def fit(
        self, log: ShopperLog, catalogue: Catalogue, settings: TrainSettings, folder: Path, progress: Progress
    ) -> Trained:
        """Continues what an earlier call has left in `folder`, if it runs on this machine."""

    def validated(
        self, log: ShopperLog, catalogue: Catalogue, tried: Sequence[TrainSettings], folder: Path
    ) -> list[float]:
        """NDCG@10 on the validation events, of each of the settings."""


class Here:
    """In this process."""

    at_once = 1

    def fit(
        self, log: ShopperLog, catalogue: Catalogue, settings: TrainSettings, folder: Path, progress: Progress
    ) -> Trained:
        return fit(log, catalogue, settings, folder, progress)

    def validated(
        self, log: ShopperLog, catalogue: Catalogue, tried: Sequence[TrainSettings], folder: Path
    ) -> list[float]:
        return [best_ndcg(log, catalogue, settings) for settings in tried]


class OnRay:
    """Each fit is a task with one CPU of the cluster, which has this package installed."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self.at_once = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def fit(
        self, log: ShopperLog, catalogue: Catalogue, settings: TrainSettings, folder: Path, progress: Progress
    ) -> Trained:
        progress("on the Ray cluster", 0, 1, "")
        trained: Trained = self._ray.get(self._ray.remote(_fit).remote(log, catalogue, settings))
        progress("on the Ray cluster", 1, 1, "")
        return trained

    def validated(
        self, log: ShopperLog, catalogue: Catalogue, tried: Sequence[TrainSettings], folder: Path
    ) -> list[float]:
        task, data = self._ray.remote(best_ndcg), (self._ray.put(log), self._ray.put(catalogue))
        found: list[float] = self._ray.get([task.remote(*data, settings) for settings in tried])
        return found


@contextlib.contextmanager
def fitter_at(address: str) -> Iterator[Fitter]:
    """`address`: as ray.init has it, for example auto or ray://head:10001; empty: this process."""
    if not address:
        yield Here()
        return
    # Imported here: training in this process does not need Ray.
    import ray

    ray.init(address=address, log_to_driver=False)
    try:
        yield OnRay(ray)
    finally:
        ray.shutdown()


def best_ndcg(log: ShopperLog, catalogue: Catalogue, settings: TrainSettings) -> float:
    with tempfile.TemporaryDirectory() as folder:
        return max(choose(log, catalogue, settings, Path(folder)).curve)


def _fit(log: ShopperLog, catalogue: Catalogue, settings: TrainSettings) -> Trained:
    with tempfile.TemporaryDirectory() as folder:
        return fit(log, catalogue, settings, Path(folder))
