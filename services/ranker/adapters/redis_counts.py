"""Counts over all persons in Redis.

Keys, all below kairos:{tenant}:counts:2: progress is a hash of revision and position; <kind> a hash of documents by
key, <kind>:times the same keys by the time of their last change. 2 is the layout of the documents. Those of the layout
before, below kairos:{tenant}:counts: itself, are removed: the counts are made again from the log of events.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import redis

from services.ranker.adapters.redis_client import RedisClient, tenant_prefix, unavailable_without_redis
from services.ranker.ports import CountKind, Documents, LogBound, Progress

# Keys that one command names.
_MOST_KEYS = 500

_WRITE = """
local prefix, document = KEYS[1], cjson.decode(ARGV[1])
if (redis.call('HGET', prefix .. 'progress', 'revision') or '0') ~= document.revision then return 0 end
for _, gone in ipairs(document.removed) do
  redis.call('HDEL', prefix .. gone.kind, gone.key)
  redis.call('ZREM', prefix .. gone.kind .. ':times', gone.key)
end
for _, kept in ipairs(document.kept) do
  redis.call('HSET', prefix .. kept.kind, kept.key, kept.text)
  redis.call('ZADD', prefix .. kept.kind .. ':times', kept.changed_s, kept.key)
end
redis.call('HSET', prefix .. 'progress', 'revision', document.next, 'position', document.position)
return 1
"""


@unavailable_without_redis
class RedisCountStore(RedisClient):
    # Of some 3,000 documents, which keep Redis busy for some hundredths of a second.
    most_events = 400

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self._write = client.register_script(_WRITE)

    def progress(self, tenant: str) -> Progress:
        revision, position = self._redis.hmget(f"{_prefix(tenant)}progress", ["revision", "position"])
        return Progress(int(revision or 0), int(position or 0))

    def read(self, tenant: str, kind: CountKind, keys: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        for some in (list(keys[at : at + _MOST_KEYS]) for at in range(0, len(keys), _MOST_KEYS)):
            texts = self._redis.hmget(f"{_prefix(tenant)}{kind.value}", some)
            found |= {key: text.decode() for key, text in zip(some, texts, strict=True) if text is not None}
        return found

    def newest(self, tenant: str, kind: CountKind, since_s: float, limit: int) -> dict[str, str]:
        keys = self._redis.zrange(
            f"{_prefix(tenant)}{kind.value}:times", "+inf", since_s, desc=True, byscore=True, offset=0, num=limit
        )
        return self.read(tenant, kind, [key.decode() for key in keys])

    def write(self, tenant: str, known: Progress, position: int, documents: Documents) -> bool:
        document = {
            "revision": str(known.revision), "next": str(known.revision + 1), "position": str(position),
            "removed": [{"kind": kind.value, "key": key} for (kind, key), each in documents.items() if each is None],
            "kept": [
                {"kind": kind.value, "key": key, "text": each.text, "changed_s": repr(each.changed_s)}
                for (kind, key), each in documents.items()
                if each is not None
            ],
        }  # fmt: skip
        return bool(self._write(keys=[_prefix(tenant)], args=[json.dumps(document)]))

    def trim(self, tenant: str, kind: CountKind, bound: LogBound, now_s: float) -> int:
        earlier = f"{tenant_prefix(tenant)}counts:"
        self._redis.unlink(f"{earlier}progress", f"{earlier}{kind.value}", f"{earlier}{kind.value}:times")
        prefix, removed = _prefix(tenant), 0
        times = f"{prefix}{kind.value}:times"
        over = self._redis.zcard(times) - bound.count
        while True:
            oldest = self._redis.zrange(times, 0, _MOST_KEYS - 1, withscores=True)
            gone = [key for n, (key, time_s) in enumerate(oldest) if n < over or time_s <= now_s - bound.age_s]
            if not gone:
                return removed
            # Not one transaction: in MULTI a full Redis refuses removals too.
            self._redis.hdel(f"{prefix}{kind.value}", *gone)
            self._redis.zrem(times, *gone)
            removed, over = removed + len(gone), over - len(gone)


def _prefix(tenant: str) -> str:
    return f"{tenant_prefix(tenant)}counts:2:"
