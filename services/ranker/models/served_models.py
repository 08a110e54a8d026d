"""Chooses the version that answers a request.

If a learned version fails, the one behind it answers: behind a challenger stands the current version, and behind that
the scoring function of the settings.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.rollout import Stage
from services.ranker.domain.scores import Ranker, Scores
from services.ranker.models.loaded_versions import LoadedVersions, Served
from services.ranker.models.shadow import ShadowScorer
from services.ranker.models.trial_counts import TrialCounts

_log = structlog.get_logger("kairos.models")


class ServedModels:
    """`load` makes a ranker of a version's folder, ready to answer; `report(tenant, trial, counts)` adds up counts.

    A thread follows the registry's pointers from the start until `close`.
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
        self._versions, self._built_in = LoadedVersions(root, load, built_in), built_in
        self._counts, self._shadow = TrialCounts(report), ShadowScorer()
        self._shadow_sample, self._draw = shadow_sample, draw
        self.refresh()
        self._stop = threading.Event()
        self._poll = threading.Thread(target=self._follow, args=(poll_s,), name="models", daemon=True)
        self._poll.start()

    def rank(self, tenant: str, who: str, request: RankingRequest) -> tuple[Scores, str]:
        """(scores, version that made them). `who` is the id of the user, the visitor or the session."""
        # One read: the request keeps these versions, whatever is loaded meanwhile.
        loaded = self._versions.of(tenant)
        if loaded is None:
            scores = self._built_in.rank(request)
            return scores, scores.model_version or self._built_in.name
        rollout = loaded.rollout
        chosen = rollout.version_for(tenant, who)
        for version in dict.fromkeys((chosen, rollout.current, "")):
            served = loaded.served.get(version)
            if served is None:
                continue
            began = time.perf_counter()
            try:
                scores = served.rank(request)
            except Exception:
                if not version:
                    raise
                self._counts.add(tenant, rollout, {f"{version}.errors": 1})
                _log.exception("a version failed; the one behind it answers", tenant=tenant, version=version)
                continue
            took_s = time.perf_counter() - began
            self._counts.add(tenant, rollout, {f"{version}.requests": 1, f"{version}.seconds": took_s})
            challenger = loaded.served.get(rollout.other or "")
            if rollout.stage is Stage.SHADOW and challenger is not None and self._draw() < self._shadow_sample:
                self._shadow.score(
                    challenger.rank, request, scores, took_s, lambda counts: self._counts.add(tenant, rollout, counts)
                )
            return scores, scores.model_version or served.name
        raise AssertionError("the scoring function of the settings is always loaded")

    def refresh(self) -> None:
        """Loads what the pointers name now. For one thread at a time; requests are answered meanwhile."""
        self._versions.refresh()

    def flush(self) -> None:
        """Reports what was counted since the last time."""
        self._counts.flush()

    def close(self) -> None:
        self._stop.set()
        self._poll.join()
        self._shadow.close()
        self.flush()

    def _follow(self, poll_s: float) -> None:
        while not self._stop.wait(poll_s):
            try:
                self.refresh()
                self.flush()
            except Exception:
                _log.exception("the registry could not be read; the loaded versions answer")
