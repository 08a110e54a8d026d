"""What an error of a service's Redis means to a caller."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import redis
import structlog

from services.common.errors import Overloaded, Unavailable

# A full Redis stays full until somebody acts: callers need not try more often.
_RETRY_S = 30.0
_REMEDY = (
    "raise its maxmemory and the memory limit of its container, or its disk, or lower KAIROS_RANKER_RETENTION__*: "
    "docs/how-to/runbook.md#kairosstorefull"
)

_log = structlog.get_logger("kairos.redis")
# By message, when it was logged last: one line in _RETRY_S, not one for each refused call.
_logged_s: dict[str, float] = {}


@contextmanager
def redis_errors(whose: str) -> Iterator[None]:
    """Raises Unavailable if Redis cannot be reached, and Overloaded if it has no room: reads go on then.

    `whose` names the Redis, for example "the ranker's Redis".
    """
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise Unavailable(f"{whose} cannot be reached: {error}") from error
    except redis.ResponseError as error:
        if not _is_full(error):
            raise
        now_s = time.monotonic()
        if now_s - _logged_s.get(whose, -_RETRY_S) >= _RETRY_S:
            _logged_s[whose] = now_s
            _log.error(f"{whose} is full and refuses writes", remedy=_REMEDY, error=str(error))
        raise Overloaded(f"{whose} is full and refuses writes; reads go on. Try again later", _RETRY_S) from error


def _is_full(error: redis.ResponseError) -> bool:
    """Of memory, or of the disk of its append-only file."""
    return isinstance(error, redis.exceptions.OutOfMemoryError) or str(error).startswith(("OOM", "MISCONF"))
