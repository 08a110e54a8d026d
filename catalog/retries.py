"""Sends a call again while the gateway is busy or unavailable for a short time."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import stamina

from ops.client import reason_of, retry_after_s
from services.common.errors import BudgetExpired

_ATTEMPTS = 8
_MAX_PAUSE_S = 60.0


def attempts() -> Iterator[stamina.Attempt]:
    """A gateway that is busy or unavailable for a short time, or a late stage, does not end an import."""
    return iter(stamina.retry_context(on=_pause, attempts=_ATTEMPTS, timeout=None, wait_max=10.0))


def _pause(error: Exception) -> bool | float:
    """Whether to try again, or after how many seconds."""
    if not isinstance(error, grpc.RpcError):
        return False
    if (delay := retry_after_s(error)) is not None:
        return min(max(delay, 0.01), _MAX_PAUSE_S)
    if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAVAILABLE:
        return True
    # A stage was late; the import's own time is not over.
    return reason_of(error) == BudgetExpired.reason
