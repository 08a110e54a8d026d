"""Shadow scoring: a challenger scores requests that the current version answers; its scores are only counted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import structlog

from services.common.arrays import FloatArray

# The places by which a challenger in shadow is compared with what was shown.
TOP = 10

_log = structlog.get_logger("kairos.models")


class ShadowScorer:
    """One request at a time, in a thread of its own; while one is being scored, others are skipped."""

    def __init__(self) -> None:
        # More threads would take the cores from the requests that are being answered.
        self._thread, self._is_free = ThreadPoolExecutor(1, "shadow"), threading.Semaphore(1)

    def score(
        self, challenger: Callable[[], float], took_s: float, count: Callable[[Mapping[str, float]], None]
    ) -> None:
        """`challenger` scores the request and gives its agreement with what was shown, from 0 to 1. The version that
        answered took `took_s`. Returns at once.
        """
        if self._is_free.acquire(blocking=False):
            self._thread.submit(self._score, challenger, took_s, count)

    def close(self) -> None:
        self._thread.shutdown()

    def _score(
        self, challenger: Callable[[], float], took_s: float, count: Callable[[Mapping[str, float]], None]
    ) -> None:
        try:
            began = time.perf_counter()
            found = challenger()
            seconds = time.perf_counter() - began
            counts = {
                "shadow.requests": 1.0, "shadow.seconds": seconds, "shadow.seconds_of_current": took_s,
                "shadow.agreement": found,
            }  # fmt: skip
        except Exception:
            _log.exception("a challenger in shadow failed")
            counts = {"shadow.errors": 1.0}
        finally:
            self._is_free.release()
        count(counts)


def agreement(one: FloatArray, other: FloatArray) -> float:
    """The share of the best ten of one that are among the best ten of the other; both score the same candidates."""
    tops = [np.argsort(-scores, kind="stable")[:TOP].tolist() for scores in (one, other)]
    return shared(*tops)


def shared(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """The share of the first ten of one that are among the first ten of the other; 1 if one is empty."""
    first = set(one[:TOP])
    return len(first & set(other[:TOP])) / len(first) if first else 1.0
