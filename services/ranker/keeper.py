"""Keeps the store within its bounds, in a thread of its own, off the path of the responses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from services.ranker.ports import Fill, ProfileStore, Retention

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
        self, store: ProfileStore, retention: Retention, interval_s: float, clock: Callable[[], float]
    ) -> None:
        self._store, self._retention, self._interval_s, self._clock = store, retention, interval_s, clock
        self._stop = threading.Event()
        self.removed = self.failures = 0
        self.fill: Fill | None = None
        self._thread = threading.Thread(target=self._run, name="ranker-keeper", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        wait_s = self._interval_s
        while not self._stop.wait(wait_s):
            try:
                wait_s = self._interval_s if self._turn() else min(_RETRY_S, self._interval_s)
            except Exception:
                self.failures += 1
                _log.exception("the log could not be kept within its bounds")

    def _turn(self) -> bool:
        """False if it should be soon again."""
        began, removed = time.monotonic(), 0
        for count in self._store.trim(self._retention, self._clock()):
            removed += count
            self.removed += count
            if self._stop.wait(_PAUSE_FACTOR * (time.monotonic() - began)):
                return True
            began = time.monotonic()
        if removed:
            _log.info("removed what is beyond the bounds of retention", entries=removed)
        self.fill = self._store.fill()
        if self.fill is not None and self.fill.used > _FULL * self.fill.limit:
            _log.warning(
                "the store is nearly full: lower KAIROS_RANKER_RETENTION__* or give it more room",
                place=self.fill.place, used_bytes=self.fill.used, limit_bytes=self.fill.limit,
            )  # fmt: skip
        return self._store.erase()
