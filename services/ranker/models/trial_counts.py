"""What is counted of the versions on trial, until it is reported to the store that all replicas share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

import structlog

from services.common.models.rollout import Rollout

_log = structlog.get_logger("kairos.models")


class TrialCounts:
    """`report(tenant, trial, counts)` adds counts to the store's sums. For several threads."""

    def __init__(self, report: Callable[[str, str, Mapping[str, float]], None]) -> None:
        self._report, self._lock = report, threading.Lock()
        self._sums: dict[tuple[str, str], dict[str, float]] = {}

    def add(self, tenant: str, rollout: Rollout, counts: Mapping[str, float]) -> None:
        """Without a second version there is no trial, and nothing is counted."""
        if rollout.other is not None:
            self._add(tenant, rollout.trial, counts)

    def failed(self, tenant: str, rollout: Rollout, version: str) -> None:
        self.add(tenant, rollout, {f"{version}.errors": 1})

    def flush(self) -> None:
        """Reports what was counted since the last time. While the store is unavailable, the counts are kept."""
        with self._lock:
            waiting, self._sums = self._sums, {}
        for (tenant, trial), counts in waiting.items():
            try:
                self._report(tenant, trial, counts)
            except Exception:
                self._add(tenant, trial, counts)
                _log.warning("counts of a trial wait for the store", tenant=tenant, trial=trial)

    def _add(self, tenant: str, trial: str, counts: Mapping[str, float]) -> None:
        with self._lock:
            sums = self._sums.setdefault((tenant, trial), {})
            for name, value in counts.items():
                sums[name] = sums.get(name, 0.0) + value
