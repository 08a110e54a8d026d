"""Profiles in Redis, for several machines. Durable as far as Redis is: run it with `appendonly yes`.

Keys, all below kairos:{tenant}: event:<id> marks an event as seen; user:<id> is a sorted set of events by time;
item:<id> its features; popularity a sorted set of log masses; events and impressions are streams that a learner reads.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import redis

from services.ranker.domain.event import Event, EventType, HistoryEntry, Impressions, ItemFeatures
from services.ranker.domain.popularity import decayed, log_mass
from services.ranker.ports import HISTORY

# One script a batch: whole or not at all, and the same event twice counts once. ARGV[1] is a JSON document.
_RECORD = """
local batch = cjson.decode(ARGV[1])
local prefix = KEYS[1]
for _, item in ipairs(batch.items) do redis.call('SET', prefix .. 'item:' .. item.id, item.data) end
local new = 0
for _, event in ipairs(batch.events) do
  if redis.call('SET', prefix .. 'event:' .. event.id, '1', 'NX') then
    new = new + 1
    redis.call('ZADD', prefix .. 'user:' .. event.user, event.time, event.data)
    redis.call('ZREMRANGEBYRANK', prefix .. 'user:' .. event.user, 0, -1001)
    redis.call('XADD', prefix .. 'events', '*', 'event', event.data)
    if event.mass then
      local known = redis.call('ZSCORE', prefix .. 'popularity', event.item)
      local total = tonumber(event.mass)
      if known then
        local a, b = math.max(known, total), math.min(known, total)
        total = a + math.log(1 + 2 ^ (b - a)) / math.log(2)
      end
      redis.call('ZADD', prefix .. 'popularity', string.format('%.17g', total), event.item)
    end
  end
end
return new
"""
_IMPRESSIONS = """
local new = 0
for _, shown in ipairs(cjson.decode(ARGV[1])) do
  if redis.call('SET', KEYS[1] .. 'shown:' .. shown.id, '1', 'NX') then
    new = new + 1
    redis.call('XADD', KEYS[1] .. 'impressions', '*', 'impressions', shown.data)
  end
end
return new
"""


class RedisProfileStore:
    def __init__(self, client: redis.Redis) -> None:
        self._redis: Any = client
        self._record = client.register_script(_RECORD)
        self._record_impressions = client.register_script(_IMPRESSIONS)

    def record(self, tenant: str, events: Sequence[Event], items: Sequence[ItemFeatures]) -> int:
        batch = {
            "items": [{"id": item.item_id, "data": _item_to_json(item)} for item in items],
            "events": [_event_entry(event) for event in events],
        }
        # cjson reads [] as an object, which ipairs walks all the same.
        return int(self._record(keys=[_prefix(tenant)], args=[json.dumps(batch)]))

    def record_impressions(self, tenant: str, impressions: Sequence[Impressions]) -> int:
        entries = [
            {
                "id": f"{shown.ranking_id}:{min(shown.positions)}",
                "data": json.dumps(
                    vars(shown)
                    | {
                        "item_ids": list(shown.item_ids),
                        "positions": list(shown.positions),
                        "propensities": list(shown.propensities),
                    }
                ),
            }
            for shown in impressions
        ]
        return int(self._record_impressions(keys=[_prefix(tenant)], args=[json.dumps(entries)]))

    def history(self, tenant: str, user_id: str, limit: int = HISTORY) -> list[HistoryEntry]:
        prefix = _prefix(tenant)
        # Members of equal time come in the order of their text, which begins with the event id.
        events = [json.loads(data) for data in self._redis.zrevrange(f"{prefix}user:{user_id}", 0, limit - 1)]
        item_ids = sorted({event["item_id"] for event in events if event["item_id"]})
        found = self._redis.mget([f"{prefix}item:{item_id}" for item_id in item_ids]) if item_ids else []
        items = {item_id: _item_from_json(item_id, data) for item_id, data in zip(item_ids, found, strict=True) if data}
        return [
            HistoryEntry(
                event["item_id"], event["session_id"], EventType(event["type"]), event["occurred_s"],
                event["dwell_ms"], items.get(event["item_id"]),
            )
            for event in events
        ]  # fmt: skip

    def popularity(self, tenant: str, item_ids: Sequence[str], now_s: float) -> list[float]:
        if not item_ids:
            return []
        return [decayed(mass, now_s) for mass in self._redis.zmscore(f"{_prefix(tenant)}popularity", list(item_ids))]

    def popular(self, tenant: str, category: str, limit: int, now_s: float) -> list[tuple[str, float]]:
        prefix = _prefix(tenant)
        ranked = self._redis.zrevrange(f"{prefix}popularity", 0, -1 if category else limit - 1, withscores=True)
        pairs = [(item_id.decode(), mass) for item_id, mass in ranked]
        if category and pairs:
            found = self._redis.mget([f"{prefix}item:{item_id}" for item_id, _ in pairs])
            pairs = [pair for pair, data in zip(pairs, found, strict=True) if data and _is_in(data, category)]
        pairs.sort(key=lambda pair: (-pair[1], pair[0]))
        return [(item_id, decayed(mass, now_s)) for item_id, mass in pairs[:limit]]

    def close(self) -> None:
        self._redis.close()


def _prefix(tenant: str) -> str:
    # The braces keep a tenant's keys on one node of a cluster, where a script may touch them all.
    return f"kairos:{{{tenant}}}:"


def _event_entry(event: Event) -> dict[str, object]:
    mass = log_mass(event)
    # The event id first: see `history`.
    data = json.dumps({"event_id": event.event_id} | vars(event) | {"type": event.type.value})
    entry: dict[str, object] = {
        "id": event.event_id, "user": event.user_id, "item": event.item_id,
        "time": repr(event.occurred_s), "data": data,
    }  # fmt: skip
    return entry if mass is None else entry | {"mass": repr(mass)}


def _item_to_json(item: ItemFeatures) -> str:
    vector = None if item.vector is None else base64.b64encode(item.vector.astype("<f2").tobytes()).decode()
    price = None if math.isnan(item.price) else item.price
    return json.dumps([vector, item.model_version, price, item.category, item.brand])


def _item_from_json(item_id: str, data: bytes) -> ItemFeatures:
    vector, version, price, category, brand = json.loads(data)
    array = None if vector is None else np.frombuffer(base64.b64decode(vector), "<f2").astype(np.float32)
    return ItemFeatures(item_id, array, version, float("nan") if price is None else price, category, brand)


def _is_in(data: bytes, category: str) -> bool:
    own = str(json.loads(data)[3])
    return own == category or own.startswith(f"{category} > ")
