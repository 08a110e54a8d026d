"""Rankings and sessions in Redis: readable by every replica until they expire.

Keys, all below kairos:{tenant}:kept: ranking:<id> is a ranking as bytes, session:<id> a hash; rankings and sessions are
their ids by the time of the last write, for the bounds; person:<key> the person's keys by the time of their expiry;
forgotten:<digest> is the time of a deletion.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import redis

from services.ranker.adapters.ranking_bytes import from_bytes, to_bytes
from services.ranker.adapters.redis_client import EXPIRING, RedisClient, tenant_prefix, unavailable_without_redis
from services.ranker.adapters.session_text import events_from_text, events_to_text
from services.ranker.domain.session import SessionContext, SessionMove, moved
from services.ranker.domain.stored_ranking import StoredRanking
from services.ranker.ports import FORGOTTEN_S, RankingLimits

_SHARED = """
local prefix, document = KEYS[1], cjson.decode(ARGV[1])
local function keep(kind, id, person, limit)
  local all = prefix .. kind .. 's'
  redis.call('ZADD', all, document.now_s, id)
  redis.call('ZREMRANGEBYSCORE', all, '-inf', document.now_s - document.ttl_s)
  for _ = limit + 1, redis.call('ZCARD', all) do
    redis.call('DEL', prefix .. kind .. ':' .. redis.call('ZPOPMIN', all)[1])
  end
  if person ~= '' then
    local own, most = prefix .. 'person:' .. person, math.max(redis.call('TTL', prefix .. 'person:' .. person), 0)
    redis.call('ZADD', own, document.now_s + document.ttl_s, kind .. ':' .. id)
    redis.call('ZREMRANGEBYSCORE', own, '-inf', document.now_s)
    redis.call('EXPIRE', own, math.max(most, math.ceil(document.ttl_s)))
  end
end
"""
# ARGV[2] and following are the rankings as bytes, in the order of the document.
_STORE = (
    _SHARED
    + """
for place, ranking in ipairs(document.rankings) do
  local gone = redis.call('GET', prefix .. 'forgotten:' .. redis.sha1hex(ranking.person))
  if not (gone and tonumber(ranking.ranked_s) <= tonumber(gone)) then
    redis.call('SET', prefix .. 'ranking:' .. ranking.id, ARGV[1 + place], 'PX', math.ceil(document.ttl_s * 1000))
    keep('ranking', ranking.id, ranking.person, document.limit)
  end
end
"""
)
_KEEP_SESSION = _SHARED + "keep('session', document.id, document.person, document.limit)"
_DELETE = """
local prefix, document = KEYS[1], cjson.decode(ARGV[1])
local deleted = 0
for _, person in ipairs(document.persons) do
  for _, key in ipairs(redis.call('ZRANGE', prefix .. 'person:' .. person, 0, -1)) do
    local kind, id = key:match('^(%a+):(.*)$')
    local removed = redis.call('DEL', prefix .. key)
    if kind == 'ranking' then deleted = deleted + removed end
    redis.call('ZREM', prefix .. kind .. 's', id)
  end
  redis.call('DEL', prefix .. 'person:' .. person)
  redis.call('SET', prefix .. 'forgotten:' .. redis.sha1hex(person), document.time, 'EX', document.remembered_s)
end
return deleted
"""


@unavailable_without_redis
class RedisRankingStore(RedisClient):
    """`clock` gives seconds since the epoch. Redis itself removes what has expired."""

    def __init__(
        self, client: redis.Redis, limits: RankingLimits, session_step: float, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(client)
        self._limits, self._step, self._clock = limits, session_step, clock
        self._store, self._keep_session, self._delete = (
            client.register_script(script) for script in (_STORE, _KEEP_SESSION, _DELETE)
        )

    def store(self, rankings: Sequence[tuple[str, StoredRanking]]) -> None:
        # A script touches the keys of one tenant: they may lie on different nodes.
        for tenant in dict.fromkeys(tenant for tenant, _ in rankings):
            own = [ranking for of, ranking in rankings if of == tenant]
            document = {
                "now_s": self._clock(), "ttl_s": self._limits.ranking_ttl_s, "limit": self._limits.rankings,
                "rankings": [{"id": r.ranking_id, "person": r.person, "ranked_s": repr(r.ranked_s)} for r in own],
            }  # fmt: skip
            self._store(keys=[_prefix(tenant)], args=[json.dumps(document), *map(to_bytes, own)])

    def ranking(self, tenant: str, ranking_id: str) -> StoredRanking | None:
        found = self._redis.get(f"{_prefix(tenant)}ranking:{ranking_id}")
        return None if found is None else from_bytes(found)

    def move_sessions(self, moves: Sequence[SessionMove]) -> None:
        ordered = sorted(moves, key=lambda move: (move.tenant, move.session_id))
        for (tenant, session_id), own in groupby(ordered, key=lambda move: (move.tenant, move.session_id)):
            self._move(tenant, session_id, list(own))

    def session(self, tenant: str, session_id: str) -> SessionContext | None:
        return _context(self._redis.hgetall(f"{_prefix(tenant)}session:{session_id}"))

    def delete_persons(self, tenant: str, persons: Sequence[str]) -> int:
        document = {"persons": list(persons), "time": repr(self._clock()), "remembered_s": FORGOTTEN_S}
        return int(self._delete(keys=[_prefix(tenant)], args=[json.dumps(document)]))

    def remove_expired(self) -> None:
        """Nothing is left to do."""

    def _move(self, tenant: str, session_id: str, moves: Sequence[SessionMove]) -> None:
        key = f"{_prefix(tenant)}session:{session_id}"
        person, is_kept = "", False

        def step(pipeline: Any) -> None:
            nonlocal person, is_kept
            known = pipeline.hgetall(key)
            context = _context(known)
            for move in moves:
                gone = pipeline.get(f"{_prefix(tenant)}forgotten:{hashlib.sha1(move.person.encode()).hexdigest()}")
                if gone is None or move.moved_s > float(gone):
                    context = moved(context, move, self._step)
            named = [move.person for move in moves if move.person]
            person = named[-1] if named else known.get(b"person", b"").decode()
            pipeline.multi()
            is_kept = context is not None
            if context is not None:
                vector = context.vector.astype("<f4").tobytes()
                fields = {
                    "person": person, "model_version": context.model_version, "vector": vector,
                    "recent": events_to_text(context.recent),
                }  # fmt: skip
                pipeline.hset(key, mapping=fields)
                pipeline.pexpire(key, int(self._limits.session_ttl_s * 1_000))

        # Tried again as long as another replica moves the same session meanwhile.
        self._redis.transaction(step, key)
        if not is_kept:
            return
        document = {
            "now_s": self._clock(), "ttl_s": self._limits.session_ttl_s, "limit": self._limits.sessions,
            "id": session_id, "person": person,
        }  # fmt: skip
        self._keep_session(keys=[_prefix(tenant)], args=[json.dumps(document)])


def _prefix(tenant: str) -> str:
    return f"{tenant_prefix(tenant)}{EXPIRING.strip(':')}:"


def _context(fields: dict[bytes, bytes]) -> SessionContext | None:
    if not fields:
        return None
    recent = events_from_text(fields.get(b"recent", b""))
    return SessionContext(fields[b"model_version"].decode(), np.frombuffer(fields[b"vector"], "<f4"), recent)
