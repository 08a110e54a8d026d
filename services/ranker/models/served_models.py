"""Chooses the version that answers a request.

If a learned version fails, the one behind it answers: behind a challenger stands the current version, and behind that
the scoring function of the settings.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import structlog

from services.common.models.follower import Follower
from services.common.models.loaded_versions import LoadedVersions
from services.common.models.rollout import Stage
from services.common.models.shadow import ShadowScorer, agreement
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.scores import Ranker, Scores
from services.ranker.models.served import PREFIX, Served
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
        self._counts, self._shadow = TrialCounts(report), ShadowScorer()
        self._versions: LoadedVersions[Served] = LoadedVersions(
            root,
            lambda folder: Served(folder.name, f"{PREFIX}{folder.name}", load(folder)),
            self._counts.failed,
            built_in,
        )
        self._built_in, self._shadow_sample, self._draw = built_in, shadow_sample, draw
        self.refresh()
        self._follower = Follower(self._look, poll_s)

    def rank(self, tenant: str, who: str, request: RankingRequest, version: str = "") -> tuple[Scores, str]:
        """See ports.RankerModels."""
        # One read: the request keeps these versions, whatever is loaded meanwhile.
        loaded = self._versions.of(tenant)
        if loaded is None:
            scores = self._built_in.rank(request)
            return scores, scores.model_version or self._built_in.name
        rollout = loaded.rollout
        chosen = version if version and version in loaded.served else rollout.version_for(tenant, who)
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
                self._counts.failed(tenant, rollout, version)
                _log.exception("a version failed; the one behind it answers", tenant=tenant, version=version)
                continue
            took_s = time.perf_counter() - began
            self._counts.add(tenant, rollout, {f"{version}.requests": 1, f"{version}.seconds": took_s})
            challenger = loaded.served.get(rollout.other or "")
            if rollout.stage is Stage.SHADOW and challenger is not None and self._draw() < self._shadow_sample:
                self._score_in_shadow(challenger, request, scores, took_s, partial(self._counts.add, tenant, rollout))
            return scores, scores.model_version or served.name
        raise AssertionError("the scoring function of the settings is always loaded")

    def refresh(self) -> None:
        """Loads what the pointers name now. For one thread at a time; requests are answered meanwhile."""
        self._versions.refresh()

    def flush(self) -> None:
        """Reports what was counted since the last time."""
        self._counts.flush()

    def close(self) -> None:
        self._follower.close()
        self._shadow.close()
        self.flush()

    def _score_in_shadow(
        self,
        challenger: Served,
        request: RankingRequest,
        shown: Scores,
        took_s: float,
        count: Callable[[Mapping[str, float]], None],
    ) -> None:
        self._shadow.score(lambda: agreement(shown.total, challenger.rank(request).total), took_s, count)

    def _look(self) -> None:
        self.refresh()
        self.flush()
