"""How often each version was used, for the metrics."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from services.ranker.ports import Usage

# Versions that are counted; beyond it the one that was used first is forgotten.
_MOST = 20


class UsageCounts:
    """For several threads."""

    def __init__(self) -> None:
        self._lock, self._usage = threading.Lock(), dict[str, Usage]()

    def add(self, name: str, requests: int = 0, seconds: float = 0.0, errors: int = 0) -> None:
        with self._lock:
            known = self._usage.get(name, Usage())
            self._usage[name] = Usage(known.requests + requests, known.seconds + seconds, known.errors + errors)
            if len(self._usage) > _MOST:
                del self._usage[next(iter(self._usage))]

    def all(self) -> Mapping[str, Usage]:
        with self._lock:
            return dict(self._usage)
