"""The versions that answer now. What the registry's pointer says is followed without losing a request.

A thread of its own looks at the pointers, loads what is new, warms it and puts it in place with one assignment. A
request keeps the models that it began with. Where a learned version fails, the one behind it answers: the challenger
is stood in for by the current one, and that by the scoring function that the settings name.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from services.ranker.adapters.model_registry import ModelRegistry
from services.ranker.domain.profile import Profile
from services.ranker.domain.ranking import Ranker, RankingRequest, Scores
from services.ranker.domain.rollout import Rollout, Stage

# What is compared between a challenger in shadow and what was shown.
TOP = 10
# Of the model version in answers of learned versions.
PREFIX = "learned@"
# A version that cannot be loaded is tried again after so long.
_RETRY_S = 30.0

_log = structlog.get_logger("kairos.models")


@dataclass(frozen=True)
class Served:
    """A version at work. `name` is the model version of its answers."""

    version: str
    name: str
    rank: Ranker


@dataclass(frozen=True)
class _AtWork:
    """Of one tenant. `stamp` is the pointer's when this was made."""

    stamp: object
    rollout: Rollout
    served: Mapping[str, Served]
    tried_s: float = 0.0
    is_whole: bool = True


class ServedModels:
    """`load` makes a ranker of a version's folder, ready to answer; `report(tenant, trial, counts)` adds up.

    Follows the pointers from the start on; `close` ends that.
    """

    def __init__(
        self,
        root: Path,
        load: Callable[[Path], Ranker],
        built_in: Served,
        report: Callable[[str, str, Mapping[str, float]], None],
        poll_s: float,
        shadow_sample: float,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._root, self._load, self._built_in, self._report = root, load, built_in, report
        self._shadow_sample, self._draw = shadow_sample, draw
        self._tenants: dict[str, _AtWork] = {}
        self._counts, self._counting = _Counts(), threading.Lock()
        # One at a time: what is scored beside must not take the cores from what is waited for.
        self._beside = ThreadPoolExecutor(1, "shadow")
        self._beside_is_free = threading.Semaphore(1)
        self.refresh()
        self._stop = threading.Event()
        self._poll = threading.Thread(target=self._follow, args=(poll_s,), name="models", daemon=True)
        self._poll.start()

    def rank(self, tenant: str, who: str, request: RankingRequest) -> tuple[Scores, str]:
        """(scores, version that made them). `who` is the user, or the session of somebody unknown."""
        at_work = self._tenants.get(tenant)
        if at_work is None:
            scores = self._built_in.rank(request)
            return scores, scores.model_version or self._built_in.name
        rollout = at_work.rollout
        chosen = rollout.version_for(tenant, who)
        for version in dict.fromkeys((chosen, rollout.current, "")):
            served = at_work.served.get(version)
            if served is None:
                continue
            began = time.perf_counter()
            try:
                scores = served.rank(request)
            except Exception:
                if not version:
                    raise
                self._count(tenant, rollout, {f"{version}.errors": 1})
                _log.exception("a model failed; the one behind it answers", tenant=tenant, version=version)
                continue
            took_s = time.perf_counter() - began
            self._count(tenant, rollout, {f"{version}.requests": 1, f"{version}.seconds": took_s})
            if rollout.stage is Stage.SHADOW and self._draw() < self._shadow_sample:
                self._score_beside(tenant, at_work, request, scores, took_s)
            return scores, scores.model_version or served.name
        raise AssertionError("the scoring function of the settings is always there")

    def refresh(self) -> None:
        """Brings every tenant up to its pointer. For one thread at a time; requests go on meanwhile."""
        folders = (path for path in self._root.iterdir() if path.is_dir()) if self._root.is_dir() else ()
        for folder in sorted(folders):
            registry, known = ModelRegistry(folder), self._tenants.get(folder.name)
            stamp = registry.stamp()
            is_due = known is None or (not known.is_whole and time.monotonic() - known.tried_s > _RETRY_S)
            if (stamp is None and known is None) or (known is not None and known.stamp == stamp and not is_due):
                continue
            self._tenants[folder.name] = self._follow_pointer(registry, stamp, known)

    def close(self) -> None:
        self._stop.set()
        self._poll.join()
        self._beside.shutdown()
        self.flush()

    def _follow_pointer(self, registry: ModelRegistry, stamp: object, known: _AtWork | None) -> _AtWork:
        """What cannot be loaded leaves everything as it was."""
        served = dict(known.served) if known else {"": self._built_in}
        try:
            rollout = registry.rollout()
            wanted = {"", rollout.current} | ({rollout.other} if rollout.other is not None else set())
            for version in sorted(wanted - served.keys()):
                served[version] = Served(version, f"{PREFIX}{version}", self._load(registry.path(version)))
        except Exception:
            _log.exception("a version could not be loaded; what was served goes on", registry=str(registry.folder))
            before = known.rollout if known else Rollout()
            return _AtWork(stamp, before, served, time.monotonic(), is_whole=False)
        if known is None or known.rollout != rollout:
            _log.info("models at work", tenant=registry.folder.name, current=rollout.current, other=rollout.other)
        return _AtWork(stamp, rollout, {version: served[version] for version in wanted})

    def _score_beside(
        self, tenant: str, at_work: _AtWork, request: RankingRequest, shown: Scores, took_s: float
    ) -> None:
        """The challenger's turn at the same request; left out while it still has another one before it."""
        challenger = at_work.served.get(at_work.rollout.other or "")
        if challenger is None or not self._beside_is_free.acquire(blocking=False):
            return

        def score() -> None:
            try:
                began = time.perf_counter()
                scores = challenger.rank(request)
                seconds = time.perf_counter() - began
                counts = {
                    "shadow.requests": 1.0, "shadow.seconds": seconds, "shadow.seconds_of_current": took_s,
                    "shadow.agreement": agreement(shown.total, scores.total),
                }  # fmt: skip
            except Exception:
                _log.exception("a challenger in shadow failed", tenant=tenant, version=challenger.version)
                counts = {"shadow.errors": 1.0}
            finally:
                self._beside_is_free.release()
            self._count(tenant, at_work.rollout, counts)

        self._beside.submit(score)

    def _count(self, tenant: str, rollout: Rollout, counts: Mapping[str, float]) -> None:
        if rollout.other is None:
            return
        with self._counting:
            self._counts.add(tenant, rollout.trial, counts)

    def flush(self) -> None:
        """Reports what was counted since the last time."""
        with self._counting:
            counts, self._counts = self._counts, _Counts()
        for (tenant, trial), sums in counts.sums.items():
            try:
                self._report(tenant, trial, sums)
            except Exception:
                # The store may be away for a while: what was counted waits for it.
                with self._counting:
                    self._counts.add(tenant, trial, sums)
                _log.warning("counts of a trial wait for the store", tenant=tenant, trial=trial)

    def _follow(self, poll_s: float) -> None:
        while not self._stop.wait(poll_s):
            try:
                self.refresh()
                self.flush()
            except Exception:
                _log.exception("the registry could not be read; what was served goes on")


class _Counts:
    def __init__(self) -> None:
        self.sums: dict[tuple[str, str], dict[str, float]] = {}

    def add(self, tenant: str, trial: str, counts: Mapping[str, float]) -> None:
        sums = self.sums.setdefault((tenant, trial), {})
        for name, value in counts.items():
            sums[name] = sums.get(name, 0.0) + value


def agreement(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the best ten of one that are among the best ten of the other."""
    most = min(TOP, len(one))
    tops = [set(np.argsort(-scores, kind="stable")[:most].tolist()) for scores in (one, other)]
    return len(tops[0] & tops[1]) / most


def blank_request(model_version: str, dimensions: int) -> RankingRequest:
    """Two candidates of whom nothing is known, for nobody: what a model is warmed with."""
    zeros = np.zeros(2, np.float32)
    nobody = Profile((), np.zeros((0, dimensions), np.float32), zeros[:0])
    return RankingRequest(
        ["", ""], zeros, np.zeros((2, dimensions), np.float32), zeros, zeros, zeros, None, nobody, ["", ""], ["", ""],
        model_version=model_version,
    )  # fmt: skip
