"""Conversations in Redis, for several machines. Durable as far as Redis is.

Keys, all below kairos:{tenant}: conversation:<id> is the person's key, a zero byte and the conversation as bytes;
conversations are all ids by the time of the last turn, conversations:of:<person> those of a person in the order in
which they began, numbered by conversations:number; conversations:forgotten:<digest> is the time of a deletion.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence

import redis

from services.ranker.adapters.conversation_bytes import from_bytes, to_bytes
from services.ranker.adapters.redis_client import RedisClient, tenant_prefix, unavailable_without_redis
from services.ranker.domain.conversation import Conversation, Turn, appended, unknown
from services.ranker.ports import FORGOTTEN_S, MOST_OF_PERSON, ConversationLimits

# ARGV: the document, what the conversation was when it was read, and what it is to be. Answers 0 if it has changed
# meanwhile, -1 if the person was deleted after the turn. What Redis lets expire by itself leaves the sets here.
_APPEND = """
local prefix, document = KEYS[1], cjson.decode(ARGV[1])
local key, all, own = prefix .. 'conversation:' .. document.id, prefix .. 'conversations', ''
local known = redis.call('GET', key) or ''
if known ~= ARGV[2] then return 0 end
if known == '' then
  local gone = redis.call('GET', all .. ':forgotten:' .. redis.sha1hex(document.person))
  if gone and tonumber(document.time) <= tonumber(gone) then return -1 end
end
redis.call('SET', key, ARGV[3], 'PX', math.ceil(document.ttl_s * 1000))
own = all .. ':of:' .. document.person
if known == '' then redis.call('ZADD', own, redis.call('INCR', all .. ':number'), document.id) end
redis.call('EXPIRE', own, math.ceil(document.ttl_s))
redis.call('ZADD', all, document.now_s, document.id)
redis.call('ZREMRANGEBYSCORE', all, '-inf', document.now_s - document.ttl_s)
redis.call('EXPIRE', all, math.ceil(document.ttl_s))
for _ = document.most_of_person + 1, redis.call('ZCARD', own) do
  local id = redis.call('ZPOPMIN', own)[1]
  redis.call('DEL', prefix .. 'conversation:' .. id)
  redis.call('ZREM', all, id)
end
for _ = document.most + 1, redis.call('ZCARD', all) do
  redis.call('DEL', prefix .. 'conversation:' .. redis.call('ZPOPMIN', all)[1])
end
return 1
"""
_DELETE = """
local prefix, document = KEYS[1], cjson.decode(ARGV[1])
local all, deleted = prefix .. 'conversations', 0
for _, person in ipairs(document.persons) do
  for _, id in ipairs(redis.call('ZRANGE', all .. ':of:' .. person, 0, -1)) do
    deleted = deleted + redis.call('DEL', prefix .. 'conversation:' .. id)
    redis.call('ZREM', all, id)
  end
  redis.call('DEL', all .. ':of:' .. person)
  redis.call('SET', all .. ':forgotten:' .. redis.sha1hex(person), document.time, 'EX', document.remembered_s)
end
return deleted
"""


@unavailable_without_redis
class RedisConversationStore(RedisClient):
    """`clock` gives seconds since the epoch. Redis itself removes what has expired."""

    def __init__(self, client: redis.Redis, limits: ConversationLimits, clock: Callable[[], float] = time.time) -> None:
        super().__init__(client)
        self._limits, self._clock = limits, clock
        self._append, self._delete = client.register_script(_APPEND), client.register_script(_DELETE)

    def conversation(self, tenant: str, id: str, persons: Sequence[str]) -> Conversation | None:
        found = _parts(self._redis.get(f"{tenant_prefix(tenant)}conversation:{id}"))
        return from_bytes(id, found[1]) if found is not None and found[0] in persons else None

    def append(
        self, tenant: str, id: str, persons: Sequence[str], turn: Turn, state: bytes, turn_count: int
    ) -> Conversation:
        prefix = tenant_prefix(tenant)
        # Again as long as somebody else changes the conversation meanwhile: then the number of turns differs, too.
        while True:
            stored = self._redis.get(f"{prefix}conversation:{id}") or b""
            found = _parts(stored)
            if found is not None and found[0] not in persons:
                raise unknown(id)
            known = from_bytes(id, found[1]) if found is not None else None
            changed = appended(known, id, turn, state, turn_count)
            if changed is known:
                return changed
            person = found[0] if found is not None else persons[0]
            document = {
                "id": id, "person": person, "time": repr(turn.time_s), "now_s": self._clock(),
                "ttl_s": self._limits.ttl_s, "most": self._limits.count, "most_of_person": MOST_OF_PERSON,
            }  # fmt: skip
            value = b"\0".join([person.encode(), to_bytes(changed, self._limits.bytes)])
            answer = self._append(keys=[prefix], args=[json.dumps(document), stored, value])
            if answer < 0:
                raise unknown(id)
            if answer:
                return changed

    def of_persons(self, tenant: str, persons: Sequence[str]) -> list[tuple[int, Conversation]]:
        prefix, places = tenant_prefix(tenant), list[tuple[str, int]]()
        for person in persons:
            owned = self._redis.zrange(f"{prefix}conversations:of:{person}", 0, -1, withscores=True)
            places += [(id.decode(), int(place)) for id, place in owned]
        stored = self._redis.mget([f"{prefix}conversation:{id}" for id, _ in places]) if places else []
        found = [
            (place, from_bytes(id, parts[1]))
            for (id, place), value in zip(places, stored, strict=True)
            if (parts := _parts(value)) is not None
        ]
        return sorted(found, key=lambda each: each[0])

    def delete_persons(self, tenant: str, persons: Sequence[str]) -> int:
        document = {"persons": list(persons), "time": repr(self._clock()), "remembered_s": math.ceil(FORGOTTEN_S)}
        return int(self._delete(keys=[tenant_prefix(tenant)], args=[json.dumps(document)]))

    def trim(self) -> Iterator[int]:
        """Nothing is left to do."""
        return iter(())


def _parts(value: bytes | None) -> tuple[str, bytes] | None:
    """(person, conversation as bytes)."""
    if not value:
        return None
    person, _, data = value.partition(b"\0")
    return person.decode(), data
