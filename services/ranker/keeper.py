"""Keeps the stores within their bounds, in a thread of its own, off the path of the responses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import chain

import structlog

from services.common.periodic import Periodic
from services.ranker.ports import ConversationStore, Fill, ProfileStore, Retention

# After a step the thread waits this many times as long as the step took: four fifths of the time are for requests.
_PAUSE_FACTOR = 4
# Between two tries to overwrite what deleted persons left behind.
_RETRY_S = 1.0
# A warning is logged from this share on.
_FULL = 0.8

_log = structlog.get_logger("kairos.ranker")


class Keeper:
    """Every `interval_s` it removes what is beyond `retention`. `clock` gives seconds since the epoch.

    An error is logged and counted, and the next turn tries again. `fill` is as of the last turn.
    """

    def __init__(
        self, store: ProfileStore, conversations: ConversationStore, retention: Retention, interval_s: float,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._store, self._conversations, self._retention, self._clock = store, conversations, retention, clock
        self.removed = 0
        self.fill: Fill | None = None
        self._work = Periodic("ranker-keeper", self._turn, interval_s)

    @property
    def failures(self) -> int:
        return self._work.failures

    def close(self) -> None:
        self._work.close()

    def _turn(self, stop: threading.Event) -> float | None:
        began, removed = time.monotonic(), 0
        for count in chain(self._store.trim(self._retention, self._clock()), self._conversations.trim()):
            removed += count
            self.removed += count
            if stop.wait(_PAUSE_FACTOR * (time.monotonic() - began)):
                return None
            began = time.monotonic()
        if removed:
            _log.info("removed what is beyond the bounds of retention", entries=removed)
        self.fill = self._store.fill()
        if self.fill is not None and self.fill.used > _FULL * self.fill.limit:
            _log.warning(
                "the store is nearly full: lower KAIROS_RANKER_RETENTION__* or give it more room",
                place=self.fill.place, used_bytes=self.fill.used, limit_bytes=self.fill.limit,
            )  # fmt: skip
        return None if self._store.erase() else _RETRY_S
