"""Whether a staged collection may answer searches: while a text model is on trial, it answers a share of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from services.retrieval.adapters.collection import Collection
from services.retrieval.adapters.points import Where

# Products are counted so often; a search in between uses the last counts.
_LOOK_S = 1.0
# The most products of one write, which takes them out of the staged collection before it adds them again.
_MOST_WRITTEN = 512


@dataclass(frozen=True)
class _Look:
    """At both collections, whichever of them was live: a switch changes nothing about it."""

    both: frozenset[Hashable]
    at_s: float
    missing: int
    is_complete: bool


class StagedSearches:
    """`writing`: the lock of each tenant, which its writes take."""

    def __init__(self, writing: Mapping[str, threading.Lock], clock: Callable[[], float] = time.monotonic) -> None:
        self._writing, self._clock = writing, clock
        self._looks: dict[str, _Look] = {}

    def is_complete(self, tenant: str, live: Collection, staged: Collection) -> bool:
        """Whether the staged collection has all products of the live one. It never waits for a write."""
        both, known = frozenset((live.identity, staged.identity)), self._looks.get(tenant)
        if known is not None and known.both != both:
            known = None
        if known is not None and self._clock() - known.at_s < _LOOK_S:
            return known.is_complete
        lock = self._writing[tenant]
        if not lock.acquire(blocking=False):
            # The write that is in progress takes products out for a moment.
            return known is not None and known.is_complete
        try:
            missing = abs(live.count(Where()) - staged.count(Where()))
        finally:
            lock.release()
        # Another process may be writing: what one batch lacks is missing only if it still is at the next look.
        was_complete = known is not None and not known.missing
        is_complete = missing == 0 or (was_complete and missing <= _MOST_WRITTEN)
        self._looks[tenant] = _Look(both, self._clock(), missing, is_complete)
        return is_complete
