"""Redis as consumers of its streams see it: their positions, and the counts that they share."""

from __future__ import annotations

from collections.abc import Mapping

from services.ranker.adapters.redis_client import TOKEN_KEY, RedisClient, tenant_prefix, unavailable_without_redis


@unavailable_without_redis
class RedisConsumers(RedisClient):
    def committed(self, tenant: str, group: str) -> dict[str, int]:
        found = self._redis.hgetall(f"{tenant_prefix(tenant)}group:{group}")
        return {log.decode(): int(position) for log, position in found.items()}

    def commit(self, tenant: str, group: str, positions: Mapping[str, int]) -> None:
        if positions:
            self._redis.hset(f"{tenant_prefix(tenant)}group:{group}", mapping=dict(positions))

    def add_counts(self, tenant: str, name: str, counts: Mapping[str, float]) -> None:
        pipeline = self._redis.pipeline(transaction=True)
        for field, value in counts.items():
            pipeline.hincrbyfloat(f"{tenant_prefix(tenant)}count:{name}", field, value)
        pipeline.execute()

    def counts(self, tenant: str, name: str) -> dict[str, float]:
        found = self._redis.hgetall(f"{tenant_prefix(tenant)}count:{name}")
        return {field.decode(): float(value) for field, value in found.items()}

    def token_key(self, proposed: str) -> str:
        # Read first: a full Redis refuses to write.
        if (key := self._redis.get(TOKEN_KEY)) is None:
            self._redis.set(TOKEN_KEY, proposed, nx=True)
            key = self._redis.get(TOKEN_KEY)
        return str(key.decode())
