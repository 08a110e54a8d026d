"""The outbox as a Redis stream, where a pod's disk goes with the pod. Redis must write each command to its disk before
it answers.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import redis

from services.common.errors import InvalidArgument
from services.common.outbox.outbox import LEASE_S, EntryBatch, OutboxBounds, OutboxSize, StoredBatch, full, within
from services.common.redis_errors import redis_errors

# Batches that are read at a time.
_ROWS = 100
_WHOSE = "the outbox's Redis"
# KEYS: the stream, and the hash with its size. ARGV of _APPEND: the bounds, then tenant, count and content of each
# batch; of _REMOVE: id, count and bytes of each batch.
_APPEND = """
local entries, bytes = 0, 0
for at = 3, #ARGV, 3 do
  entries = entries + tonumber(ARGV[at + 1])
  bytes = bytes + #ARGV[at + 2]
end
local held = redis.call('HMGET', KEYS[2], 'entries', 'bytes')
if tonumber(held[1] or 0) + entries > tonumber(ARGV[1]) or tonumber(held[2] or 0) + bytes > tonumber(ARGV[2]) then
  return 0
end
for at = 3, #ARGV, 3 do
  redis.call('XADD', KEYS[1], '*', 'tenant', ARGV[at], 'count', ARGV[at + 1], 'content', ARGV[at + 2])
end
redis.call('HINCRBY', KEYS[2], 'entries', entries)
redis.call('HINCRBY', KEYS[2], 'bytes', bytes)
return 1
"""
_REMOVE = """
for at = 1, #ARGV, 3 do
  if redis.call('XDEL', KEYS[1], ARGV[at]) == 1 then
    redis.call('HINCRBY', KEYS[2], 'entries', -ARGV[at + 1])
    redis.call('HINCRBY', KEYS[2], 'bytes', -ARGV[at + 2])
  end
end
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end"
_SETTINGS = {"appendonly": "yes", "appendfsync": "always"}


class RedisOutbox:
    """See outbox.Outbox. `name` is that of the service: its replicas share one stream.

    Raises InvalidArgument for a Redis that may lose acknowledged writes: at once, or as soon as it can be reached. With
    `is_durable` the operator vouches for it, and its configuration is not read.
    """

    def __init__(self, client: redis.Redis, name: str, bounds: OutboxBounds, is_durable: bool = False) -> None:
        # The types of redis-py do not say which answers are awaited.
        self._redis: Any = client
        self.bounds, self._is_checked = bounds, is_durable
        # The braces keep the keys on one node of a cluster, where a script may touch them all.
        self._keys = [f"kairos:outbox:{{{name}}}:entries", f"kairos:outbox:{{{name}}}:held"]
        self._lease_key, self._token = f"kairos:outbox:{{{name}}}:lease", uuid.uuid4().hex
        self._append, self._remove, self._release = map(client.register_script, (_APPEND, _REMOVE, _RELEASE))
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError):
            self._check()

    def append(self, batches: Sequence[EntryBatch]) -> None:
        arguments = [part for batch in batches for part in (batch.tenant, batch.count, batch.content)]
        with self._errors():
            if not self._append(self._keys, [self.bounds.entries, self.bounds.bytes, *arguments]):
                raise full(self.bounds)

    def oldest(self, most_entries: int, most_bytes: int, after: str = "") -> list[StoredBatch]:
        with self._errors():
            rows = self._redis.xrange(self._keys[0], f"({after}" if after else "-", "+", count=_ROWS)
        found = [
            StoredBatch(id.decode(), EntryBatch(of[b"tenant"].decode(), int(of[b"count"]), of[b"content"]))
            for id, of in rows
        ]
        return within(found, most_entries, most_bytes)

    def remove(self, batches: Sequence[StoredBatch]) -> None:
        arguments = [part for one in batches for part in (one.place, one.batch.count, len(one.batch.content))]
        with self._errors():
            self._remove(self._keys, arguments)

    def size(self) -> OutboxSize:
        with self._errors():
            reading = self._redis.pipeline(transaction=False)
            reading.hmget(self._keys[1], "entries", "bytes")
            reading.xrange(self._keys[0], count=1)
            reading.time()
            (entries, size), oldest, (now_s, _) = reading.execute()
        age_s = now_s - int(oldest[0][0].split(b"-")[0]) / 1e3 if oldest else 0.0
        return OutboxSize(int(entries or 0), int(size or 0), max(0.0, age_s))

    @contextmanager
    def lease(self) -> Iterator[bool]:
        with self._errors():
            is_mine = bool(self._redis.set(self._lease_key, self._token, nx=True, px=int(LEASE_S * 1e3)))
        try:
            yield is_mine
        finally:
            if is_mine:
                with self._errors():
                    self._release([self._lease_key], [self._token])

    def close(self) -> None:
        self._redis.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        with redis_errors(_WHOSE):
            self._check()
            yield

    def _check(self) -> None:
        if self._is_checked:
            return
        try:
            # One by one: several names need Redis 7.
            found = {name: self._redis.config_get(name).get(name) for name in (*_SETTINGS, "maxmemory-policy")}
        except redis.ResponseError as error:
            raise InvalidArgument.of(
                "redis_url",
                f"its configuration cannot be read ({error}); make sure that it runs with appendonly yes, appendfsync "
                "always and maxmemory-policy noeviction, then set outbox.redis_is_durable to true",
            ) from None
        wrong = [f"{name} {wanted}" for name, wanted in _SETTINGS.items() if found[name] != wanted]
        # Keys without an expiry, as the stream, are removed by the policies allkeys-*.
        if str(found["maxmemory-policy"]).startswith("allkeys"):
            wrong.append("maxmemory-policy noeviction")
        if wrong:
            raise InvalidArgument.of(
                "redis_url", f"this Redis may lose what it has acknowledged; configure {', '.join(wrong)}"
            )
        self._is_checked = True
