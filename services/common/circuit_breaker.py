"""Calls to what fails are paused (Nygard, Release It!, ch. 5). Times are seconds on a clock that is passed in.

Only failures count, not lateness: what is slow is the matter of the limits, and skipping all calls would not help it.
"""

from __future__ import annotations

from collections import deque

_WINDOW = 20
_SHARE = 0.8


class CircuitBreaker:
    """Opens when at least 80 % of the last 20 calls, and at least `failures_to_open` of them, have failed.

    While it is open, one call in `probe_s` is let through; one that succeeds closes it.
    """

    def __init__(self, failures_to_open: int, probe_s: float) -> None:
        self._failures_to_open, self._probe_s = failures_to_open, probe_s
        # Whether each call failed; the sliding window.
        self._failed: deque[bool] = deque(maxlen=max(_WINDOW, failures_to_open))
        self._probed_s = 0.0
        self.is_open = False
        # Counts the changes of the state.
        self.generation = 0

    def allows(self, now_s: float) -> bool:
        """Whether a call may be sent. Its result belongs to the `generation` of this moment."""
        if not self.is_open:
            return True
        if now_s - self._probed_s < self._probe_s:
            return False
        self._probed_s = now_s
        return True

    def ended(self, has_failed: bool, generation: int, now_s: float) -> None:
        """Results of calls that were sent before the state last changed are ignored."""
        if generation != self.generation:
            return
        if self.is_open:
            if not has_failed:
                self._switch(False, now_s)
            return
        self._failed.append(has_failed)
        failures = sum(self._failed)
        if failures >= self._failures_to_open and failures >= _SHARE * len(self._failed):
            self._switch(True, now_s)

    def _switch(self, is_open: bool, now_s: float) -> None:
        self.is_open, self._probed_s = is_open, now_s
        self.generation += 1
        self._failed.clear()
