"""Work that is done again and again in a thread of its own, whatever one turn raises."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger("kairos.periodic")


class Periodic:
    """Calls `turn` every `interval_s` seconds, the first time after the first interval, and when `wake` is called.

    `turn` gets the event that is set when the work should stop, and gives the seconds to the next turn, or None for
    `interval_s`. An error is logged and counted in `failures`; the next turn tries again.
    """

    def __init__(self, name: str, turn: Callable[[threading.Event], float | None], interval_s: float) -> None:
        self._name, self._turn, self._interval_s = name, turn, interval_s
        self._stop, self._due = threading.Event(), threading.Event()
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """The next turn begins at once, or when the turn in progress has ended."""
        self._due.set()

    def close(self) -> None:
        """Returns when the turn in progress has ended."""
        self._stop.set()
        self._due.set()
        self._thread.join()

    def _run(self) -> None:
        wait_s = self._interval_s
        while True:
            self._due.wait(wait_s)
            self._due.clear()
            if self._stop.is_set():
                return
            wait_s = self._interval_s
            try:
                sooner_s = self._turn(self._stop)
            except Exception:
                self.failures += 1
                _log.exception("a periodic task failed; its next turn tries again", task=self._name)
            else:
                wait_s = self._interval_s if sooner_s is None else min(sooner_s, self._interval_s)
