"""One run of `kairos train`: reads what is missing in the work folder, and trains one model after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ops.client import Connection
from services.common.models.kinds import PICTURES, UNDERSTANDING
from services.common.models.registry import ModelRegistry
from services.common.models.text_version import FOLDER as TEXT_FOLDER
from services.ranker.domain.weights import ServingWeights
from services.ranker.models.served_shoppers import FOLDER
from training.suite.outcome import Outcome
from training.suite.progress import Progress
from training.suite.reading import EVENTS, IMPRESSIONS, read_logs, read_products
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder

KINDS = ("shopper", "ranking")
# Trained only if named.
TEXT, COMPRESSION = "text", "compression"


@dataclass(frozen=True)
class Suite:
    """The running suite, and the folder with all tenants' registries, or the mirror of the registry at `url`.

    `weights` of the weighted sum, as the ranker's settings have them.
    """

    connection: Connection
    models: Path
    tenant: str
    weights: ServingWeights
    url: str = ""

    @cached_property
    def shoppers(self) -> ModelRegistry:
        return self._registry(self.tenant, FOLDER)

    @cached_property
    def rankers(self) -> ModelRegistry:
        return self._registry(self.tenant)

    @cached_property
    def texts(self) -> ModelRegistry:
        return self._registry(self.tenant, TEXT_FOLDER)

    @cached_property
    def understandings(self) -> ModelRegistry:
        return self._registry(self.tenant, UNDERSTANDING)

    @cached_property
    def pictures(self) -> ModelRegistry:
        return self._registry(self.tenant, PICTURES)

    def _registry(self, *names: str) -> ModelRegistry:
        if not self.url:
            return ModelRegistry(self.models.joinpath(*names))
        # Imported here: without an object store, fsspec is not needed.
        from services.common.models.registry_mirror import registry_at

        return registry_at(self.models, self.url, *names)


def run(
    suite: Suite, work: WorkFolder, settings: SuiteTraining, bar: Progress, kinds: Collection[str] = KINDS,
    clock: Callable[[], float] = time.time,
) -> list[Outcome]:  # fmt: skip
    """Continues what an earlier run left in the work folder, and empties it at the end."""
    with work.opened(f"{suite.connection.target} {suite.tenant}", clock()):
        suite.shoppers.repair()
        suite.rankers.repair()
        read(suite.connection, work, bar)
        outcomes = []
        if "shopper" in kinds:
            # Imported here: they import torch, which a run without such a model does not need.
            from training.suite.shopper import train_shopper

            own = suite.weights.own
            outcomes.append(train_shopper(work, suite.connection, suite.shoppers, own, settings, bar, clock))
        if "ranking" in kinds:
            from training.ranking.version import weights_by_kind
            from training.suite.ranking import train_ranking
            from training.suite.ranking_data import ranking_data

            data = ranking_data(work, suite.shoppers, settings, bar, clock)
            weights = weights_by_kind(suite.shoppers, suite.weights)
            outcomes.append(train_ranking(work, data, suite.rankers, weights, settings, bar, clock))
        if TEXT in kinds:
            from training.suite.text import train_text

            suite.texts.repair()
            outcomes.append(train_text(work, suite.texts, settings, clock))
        if COMPRESSION in kinds:
            from training.suite.compression import train_compression

            suite.texts.repair()
            outcomes.append(train_compression(work, suite.texts, settings, clock))
        if UNDERSTANDING in kinds:
            from training.suite.understanding import train_understanding

            suite.understandings.repair()
            outcomes.append(train_understanding(work, suite.understandings, settings, clock))
        if PICTURES in kinds:
            from training.suite.pictures import train_pictures

            suite.pictures.repair()
            outcomes.append(train_pictures(work, suite.pictures, settings.images, settings, clock))
        work.end()
    return outcomes


def read(connection: Connection, work: WorkFolder, bar: Progress) -> None:
    read_products(connection, work, bar)
    read_logs(connection, work, (EVENTS, IMPRESSIONS), bar)
