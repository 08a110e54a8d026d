"""Bounds how many calls are sent a second time, so that retries do not multiply the load of a stage that is down."""

from __future__ import annotations

_SHARE, _MOST = 0.1, 10.0


class RetryBudget:
    """A token bucket: each call adds a tenth of a token, each retry takes one. At most ten retries in a row."""

    def __init__(self) -> None:
        self._tokens = _MOST

    def sent(self) -> None:
        self._tokens = min(_MOST, self._tokens + _SHARE)

    def take(self) -> bool:
        """Whether a retry may be sent."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
