"""Chooses the version of the shopper model that serves a person.

If a version fails, the one behind it serves: behind a challenger stands the current version, and behind that nothing.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol
from weakref import ref

import structlog

from services.common.arrays import FloatArray
from services.common.models.follower import Follower
from services.common.models.loaded_versions import LoadedVersions, TenantVersions
from services.common.models.rollout import Stage
from services.common.models.shadow import ShadowScorer, agreement
from services.ranker.domain.user_history import UserHistory
from services.ranker.domain.weights import Weights
from services.ranker.models.trial_counts import TrialCounts
from services.ranker.models.usage_counts import UsageCounts
from services.ranker.ports import ShopperPerson, Usage

# The registry of a tenant's shopper models, in the folder of the registry of its rankers.
FOLDER = "shopper"

_log = structlog.get_logger("kairos.models")


class Shopper(Protocol):
    """A loaded version: see adapters.shopper_version.ShopperVersion."""

    name: str
    weights: Weights | None

    def vector(self, history: UserHistory, now_s: float) -> FloatArray | None: ...

    def scores(
        self, person: FloatArray, item_ids: Sequence[str], vectors: FloatArray, vector_version: str
    ) -> FloatArray: ...


@dataclass(frozen=True)
class _Trial:
    """A challenger in shadow, to which a sample of the requests goes."""

    challenger: Shopper
    shadow: ShadowScorer
    count: Callable[[Mapping[str, float]], None]


@dataclass(frozen=True)
class _Person:
    """Keeps its version from the beginning of a request to its end, whatever is loaded meanwhile."""

    vector: FloatArray
    model: Shopper
    history: UserHistory
    now_s: float
    took_s: float
    trial: _Trial | None

    @property
    def version(self) -> str:
        return self.model.name

    @property
    def weights(self) -> Weights | None:
        return self.model.weights

    def scores(self, item_ids: Sequence[str], vectors: FloatArray, vector_version: str) -> FloatArray:
        began = time.perf_counter()
        scores = self.model.scores(self.vector, item_ids, vectors, vector_version)
        if (trial := self.trial) is not None:

            def of_challenger() -> float:
                person = trial.challenger.vector(self.history, self.now_s)
                if person is None:
                    return 0.0
                return agreement(scores, trial.challenger.scores(person, item_ids, vectors, vector_version))

            took_s = self.took_s + time.perf_counter() - began
            trial.shadow.score(of_challenger, took_s, trial.count)
        return scores

    def without(self, item_id: str) -> ShopperPerson | None:
        history = self.history.without(item_id)
        vector = self.model.vector(history, self.now_s)
        return None if vector is None else replace(self, vector=vector, history=history, trial=None)


class ServedShoppers:
    """`load` makes a model of a version's folder, ready to answer; `report(tenant, trial, counts)` adds up counts.

    A thread follows the registry's pointers from the start until `close`.
    """

    def __init__(
        self,
        root: Path,
        load: Callable[[Path], Shopper],
        report: Callable[[str, str, Mapping[str, float]], None],
        poll_s: float,
        shadow_sample: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._counts, self._shadow, self._usage = TrialCounts(report), ShadowScorer(), UsageCounts()
        self._versions: LoadedVersions[Shopper] = LoadedVersions(root, load, self._counts.failed, below=FOLDER)
        self._shadow_sample, self._draw = shadow_sample, draw
        self.refresh()
        self._follower = Follower(self._look, poll_s)

    def person(self, tenant: str, who: str, history: UserHistory, now_s: float) -> ShopperPerson | None:
        loaded = self._versions.of(tenant)
        if loaded is None:
            return None
        # The calls of one recommendation share the vector. To events it is by less than a second too early.
        rollout, second = loaded.rollout, math.floor(now_s)
        for version in _candidates(loaded, tenant, who):
            model, began = loaded.served[version], time.perf_counter()
            try:
                vector = history.once(_vector, ref(model), second)
            except Exception:
                self._counts.failed(tenant, rollout, version)
                self._usage.add(model.name, errors=1)
                _log.exception("a version failed; the one behind it serves", tenant=tenant, version=version)
                continue
            if vector is None:
                return None
            took_s = time.perf_counter() - began
            self._counts.add(tenant, rollout, {f"{version}.requests": 1, f"{version}.seconds": took_s})
            self._usage.add(model.name, requests=1, seconds=took_s)
            return _Person(vector, model, history, second, took_s, self._trial(tenant, loaded))
        return None

    def version(self, tenant: str, who: str) -> str:
        loaded = self._versions.of(tenant)
        return next((loaded.served[version].name for version in _candidates(loaded, tenant, who)), "") if loaded else ""

    def usage(self) -> Mapping[str, Usage]:
        return self._usage.all()

    def refresh(self) -> None:
        """Loads what the pointers name now. For one thread at a time; requests are answered meanwhile."""
        self._versions.refresh()

    def close(self) -> None:
        self._follower.close()
        self._shadow.close()
        self._counts.flush()

    def _trial(self, tenant: str, loaded: TenantVersions[Shopper]) -> _Trial | None:
        """None unless this request is of the sample that a challenger in shadow scores."""
        rollout = loaded.rollout
        challenger = loaded.served.get(rollout.other or "")
        if rollout.stage is not Stage.SHADOW or challenger is None or self._draw() >= self._shadow_sample:
            return None
        return _Trial(challenger, self._shadow, partial(self._counts.add, tenant, rollout))

    def _look(self) -> None:
        self.refresh()
        self._counts.flush()


def _vector(history: UserHistory, version: ref[Shopper], second: int) -> FloatArray | None:
    """By a weak reference: a history in a cache does not keep an old version."""
    return None if (model := version()) is None else model.vector(history, second)


def _candidates(loaded: TenantVersions[Shopper], tenant: str, who: str) -> list[str]:
    """The loaded versions that may serve, in the order in which they are tried."""
    chosen = loaded.rollout.version_for(tenant, who)
    return [version for version in dict.fromkeys((chosen, loaded.rollout.current)) if version in loaded.served]
