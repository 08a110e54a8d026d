"""The connection of both Redis stores: its errors, the layout of its keys, and the refusal of another layout."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar

import redis

from services.common.errors import InvalidArgument
from services.common.redis_errors import redis_errors

# Of the keys below. Layouts from OLDEST on are read: what came later is missing in them. Others are refused.
LAYOUT = 5
OLDEST = 4
LAYOUT_KEY = "kairos:ranker:layout"
# The key that seals the gateways' tokens: of all tenants.
TOKEN_KEY = "kairos:ranker:token-key"
# Keys with this part expire: no backup needs them.
EXPIRING = ":kept:"
# Every earlier layout has such a key for each tenant with an event or a page.
_EARLIER = "kairos:{*}:*s:last"
_REMEDY = (
    "Use an empty Redis or another database of it (`redis_url`), and record the events again (`kairos events import`); "
    "or go on with the Kairos that wrote it"
)

_Store = TypeVar("_Store")


class RedisClient:
    """Raises InvalidArgument for a Redis with keys of another layout: at once, or as soon as it can be reached."""

    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client
        self._is_checked = False
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            self.check_layout()

    def check_layout(self) -> None:
        if self._is_checked:
            return
        known = self._redis.get(LAYOUT_KEY)
        if known is None and any(islice(self._redis.scan_iter(_EARLIER, count=1_000), 1)):
            raise InvalidArgument.of("redis_url", f"Redis has keys of a layout before {OLDEST}. {_REMEDY}")
        if known is not None and not OLDEST <= int(known) <= LAYOUT:
            problem = f"Redis has keys of layout {int(known)}, this Kairos reads {OLDEST} to {LAYOUT}"
            raise InvalidArgument.of("redis_url", f"{problem}. {_REMEDY}")
        if known is None or int(known) < LAYOUT:
            self._redis.set(LAYOUT_KEY, LAYOUT)
        self._is_checked = True

    def close(self) -> None:
        self._redis.close()


def unavailable_without_redis(store: type[_Store]) -> type[_Store]:
    """Every public method of the class raises Unavailable if Redis cannot be reached or does not answer in time, and
    Overloaded if it has no room for a write.
    """
    for name, method in list(vars(store).items()):
        if callable(method) and not name.startswith("_"):
            setattr(store, name, _translating(method))
    return store


def tenant_prefix(tenant: str) -> str:
    # The braces keep a tenant's keys on one node of a cluster, where a script may touch them all.
    return f"kairos:{{{tenant}}}:"


def _translating(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: RedisClient, *args: Any, **kwargs: Any) -> Any:
        with redis_errors("the ranker's Redis"):
            self.check_layout()
            return method(self, *args, **kwargs)

    return call
