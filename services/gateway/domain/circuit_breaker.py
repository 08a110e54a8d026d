"""Calls to a stage that fails repeatedly are paused (Nygard, Release It!, ch. 5)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class CircuitBreaker:
    """Closed, open after `failures_to_open` failures in a row, then one trial call after each pause.

    Times in seconds on the clock that `now_s` comes from.
    """

    failures_to_open: int
    open_s: float
    _failures: int = 0
    _retry_at_s: float = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self.failures_to_open

    def allows(self, now_s: float) -> bool:
        """Whether a call may be sent. While open, only one trial call may be sent after each pause."""
        if not self.is_open:
            return True
        if now_s < self._retry_at_s:
            return False
        self._retry_at_s = now_s + self.open_s
        return True

    def succeeded(self) -> None:
        self._failures = 0

    def failed(self, now_s: float) -> None:
        self._failures += 1
        if self.is_open:
            self._retry_at_s = now_s + self.open_s
