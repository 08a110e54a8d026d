"""Follows the registries' pointers in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

_log = structlog.get_logger("kairos.models")


class Follower:
    """Calls `look` every `poll_s` seconds until `close`. An error is logged, and the next look comes."""

    def __init__(self, look: Callable[[], None], poll_s: float) -> None:
        self._look, self._stop = look, threading.Event()
        self._thread = threading.Thread(target=self._follow, args=(poll_s,), name="models", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _follow(self, poll_s: float) -> None:
        while not self._stop.wait(poll_s):
            try:
                self._look()
            except Exception:
                _log.exception("the registry could not be read; the loaded versions answer")
