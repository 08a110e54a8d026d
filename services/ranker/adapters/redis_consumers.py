"""Redis as consumers of its streams see it: where each of them is, and what they count together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import redis

from services.common.errors import Unavailable

_Store = TypeVar("_Store")


def says_when_away(store: type[_Store]) -> type[_Store]:
    """Every public method of the class raises Unavailable where Redis cannot be reached, or does not answer in time."""
    for name, method in list(vars(store).items()):
        if callable(method) and not name.startswith("_"):
            setattr(store, name, _saying(method))
    return store


def _saying(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise Unavailable(f"the profiles' Redis cannot be reached: {error}") from error

    return call


@says_when_away
class RedisConsumers:
    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client

    def committed(self, tenant: str, group: str) -> dict[str, int]:
        found = self._redis.hgetall(f"{tenant_prefix(tenant)}group:{group}")
        return {log.decode(): int(position) for log, position in found.items()}

    def commit(self, tenant: str, group: str, positions: Mapping[str, int]) -> None:
        if positions:
            self._redis.hset(f"{tenant_prefix(tenant)}group:{group}", mapping=dict(positions))

    def oldest_impressions(self, tenant: str, user_ids: Sequence[str]) -> dict[str, int]:
        named = [user_id for user_id in user_ids if user_id]
        pipeline = self._redis.pipeline(transaction=False)
        for user_id in named:
            pipeline.zrange(f"{tenant_prefix(tenant)}user:{user_id}:impressions", 0, 0)
        return {user_id: int(places[0]) for user_id, places in zip(named, pipeline.execute(), strict=True) if places}

    def add_counts(self, tenant: str, name: str, counts: Mapping[str, float]) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        for field, value in counts.items():
            pipeline.hincrbyfloat(f"{tenant_prefix(tenant)}count:{name}", field, value)
        pipeline.execute()

    def counts(self, tenant: str, name: str) -> dict[str, float]:
        found = self._redis.hgetall(f"{tenant_prefix(tenant)}count:{name}")
        return {field.decode(): float(value) for field, value in found.items()}

    def close(self) -> None:
        self._redis.close()


def tenant_prefix(tenant: str) -> str:
    # The braces keep a tenant's keys on one node of a cluster, where a script may touch them all.
    return f"kairos:{{{tenant}}}:"
