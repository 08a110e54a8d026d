"""Whether a staged collection may answer searches: while a text model is on trial, it answers a share of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.retrieval.adapters.collection import Collection, Pair
from services.retrieval.adapters.points import Where

# Products are counted so often; a search in between uses the last counts.
_LOOK_S = 1.0
# The most products of one write, which takes them out of the staged collection before it adds them again.
_MOST_WRITTEN = 512


@dataclass(frozen=True)
class _Look:
    staged: Collection
    model_version: str
    at_s: float
    missing: int
    is_complete: bool


class StagedSearches:
    """`writing`: the lock of each tenant, which its writes take."""

    def __init__(self, writing: Mapping[str, threading.Lock], clock: Callable[[], float] = time.monotonic) -> None:
        self._writing, self._clock = writing, clock
        self._looks: dict[str, _Look] = {}

    def is_complete(self, tenant: str, pair: Pair) -> bool:
        """Whether the staged collection has all products of the live one. It never waits for a write."""
        live, staged, known = pair.live, pair.staged, self._looks.get(tenant)
        if live is None or staged is None:
            return False
        is_same = known is not None and known.staged is staged
        if is_same and known is not None and self._clock() - known.at_s < _LOOK_S:
            return known.is_complete
        lock = self._writing[tenant]
        if not lock.acquire(blocking=False):
            # The write that is in progress takes products out for a moment.
            return is_same and known is not None and known.is_complete
        try:
            missing = live.count(Where()) - staged.count(Where())
        finally:
            lock.release()
        was_complete = known is not None and known.model_version == staged.model_version and not known.missing
        # Another process may be writing: what one batch lacks is missing only if it still is at the next look.
        is_complete = missing == 0 or (was_complete and missing <= _MOST_WRITTEN)
        self._looks[tenant] = _Look(staged, staged.model_version, self._clock(), missing, is_complete)
        return is_complete
