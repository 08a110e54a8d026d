"""Profiles in Redis, for several machines. Durable as far as Redis is: run it with `appendonly yes`.

Keys, all below kairos:{tenant}: event:<id> and shown:<ranking>:<position> mark what was recorded; events and
impressions are streams, numbered from 1, that a learner reads; item:<id> its features; popularity a sorted set of log
masses; buyers and again count by items and categories. Below user:<id>: recent, lasting, purchases and seen are the
bounded sets that a profile is made of, events and impressions the user's positions in the streams, bought and days the
days of purchases. group:<name> says where a consumer of the streams is, count:<name> holds sums.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import redis

from services.ranker.adapters import redis_scripts
from services.ranker.adapters.circumstances_text import from_text, to_text
from services.ranker.adapters.redis_consumers import RedisConsumers, says_when_away, tenant_prefix
from services.ranker.domain.event import Batch, Event, EventType, HistoryEntry, Impressions, ItemFeatures
from services.ranker.domain.popularity import decayed, log_mass
from services.ranker.domain.repurchase import category_key, day_of, item_key
from services.ranker.domain.user_history import LASTING, PURCHASES, RECENT, SHOWN, UserHistory, priority
from services.ranker.ports import FORGOTTEN_S


@says_when_away
class RedisProfileStore(RedisConsumers):
    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self._record = client.register_script(redis_scripts.RECORD)
        self._record_impressions = client.register_script(redis_scripts.RECORD_IMPRESSIONS)
        self._delete_user = client.register_script(redis_scripts.DELETE_USER)

    def record(self, batches: Sequence[Batch]) -> list[int]:
        recorded = [0] * len(batches)
        # A script touches the keys of one tenant: they may lie on different nodes.
        for tenant in dict.fromkeys(batch.tenant for batch in batches):
            places = [place for place, batch in enumerate(batches) if batch.tenant == tenant]
            document = json.dumps([_batch(batches[place]) for place in places])
            for place, count in zip(places, self._record(keys=[tenant_prefix(tenant)], args=[document]), strict=True):
                recorded[place] = int(count)
        return recorded

    def record_impressions(
        self, tenant: str, impressions: Sequence[Impressions], items: Sequence[ItemFeatures] = ()
    ) -> int:
        document = json.dumps(
            {
                "items": [{"id": item.item_id, "data": _item_to_json(item)} for item in items],
                "impressions": [_shown(shown) for shown in impressions],
            }
        )
        return int(self._record_impressions(keys=[tenant_prefix(tenant)], args=[document]))

    def user_history(self, tenant: str, user_id: str) -> UserHistory:
        prefix = tenant_prefix(tenant)
        pipeline = self._redis.pipeline(transaction=True)
        for name, limit in _SETS.items():
            pipeline.zrevrange(f"{prefix}user:{user_id}:{name}", 0, limit - 1, withscores=True)
        recent, lasting, purchases, seen = pipeline.execute()
        stored = {
            member: json.loads(member.split(b"\0", 1)[1]) for of in (recent, lasting, purchases) for member, _ in of
        }
        item_ids = sorted({event["item_id"] for event in stored.values() if event["item_id"]})
        items = self.items(tenant, item_ids)

        def entries(of: list[tuple[bytes, float]]) -> list[HistoryEntry]:
            return [_entry(stored[member], items) for member, _ in of]

        shown = [(member.split(b"\0", 1)[0].decode(), shown_s) for member, shown_s in seen]
        return UserHistory(entries(recent), entries(lasting), entries(purchases), shown)

    def items(self, tenant: str, item_ids: Sequence[str]) -> dict[str, ItemFeatures]:
        prefix = tenant_prefix(tenant)
        found = self._redis.mget([f"{prefix}item:{item_id}" for item_id in item_ids]) if item_ids else []
        return {id: _item_from_json(id, data) for id, data in zip(item_ids, found, strict=True) if data}

    def rebuys(self, tenant: str, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
        if not keys:
            return {}
        prefix = tenant_prefix(tenant)
        buyers, again = (self._redis.hmget(f"{prefix}{name}", list(keys)) for name in ("buyers", "again"))
        return {key: (int(b), int(a or 0)) for key, b, a in zip(keys, buyers, again, strict=True) if b}

    def popularity(self, tenant: str, item_ids: Sequence[str], now_s: float) -> list[float]:
        if not item_ids:
            return []
        return [
            decayed(mass, now_s) for mass in self._redis.zmscore(f"{tenant_prefix(tenant)}popularity", list(item_ids))
        ]

    def popular(self, tenant: str, category: str, limit: int, now_s: float) -> list[tuple[str, float]]:
        prefix = tenant_prefix(tenant)
        ranked = self._redis.zrevrange(f"{prefix}popularity", 0, -1 if category else limit - 1, withscores=True)
        pairs = [(item_id.decode(), mass) for item_id, mass in ranked]
        if category and pairs:
            found = self._redis.mget([f"{prefix}item:{item_id}" for item_id, _ in pairs])
            pairs = [pair for pair, data in zip(pairs, found, strict=True) if data and _is_in(data, category)]
        pairs.sort(key=lambda pair: (-pair[1], pair[0]))
        return [(item_id, decayed(mass, now_s)) for item_id, mass in pairs[:limit]]

    def events_after(self, tenant: str, position: int, limit: int, user_id: str = "") -> list[tuple[int, Event]]:
        return [
            (place, Event(**data | {"type": EventType(data["type"])}))
            for place, data in self._log(tenant, "events", position, limit, user_id)
        ]

    def impressions_after(
        self, tenant: str, position: int, limit: int, user_id: str = ""
    ) -> list[tuple[int, Impressions]]:
        return [
            (place, _impressions(data)) for place, data in self._log(tenant, "impressions", position, limit, user_id)
        ]

    def delete_user(self, tenant: str, user_id: str) -> tuple[int, int]:
        arguments: list[str | int] = [user_id, _digest(user_id), repr(time.time()), FORGOTTEN_S]
        events, shown = self._delete_user(keys=[tenant_prefix(tenant)], args=arguments)
        return int(events), int(shown)

    def _log(
        self, tenant: str, name: str, position: int, limit: int, user_id: str
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        prefix = tenant_prefix(tenant)
        if not user_id:
            entries = self._redis.xrange(f"{prefix}{name}", f"({position}-0", "+", count=limit)
        else:
            places = self._redis.zrange(
                f"{prefix}user:{user_id}:{name}", f"({position}", "+inf", byscore=True, offset=0, num=limit
            )
            pipeline = self._redis.pipeline(transaction=False)
            for place in places:
                pipeline.xrange(f"{prefix}{name}", f"{int(place)}-0", f"{int(place)}-0")
            entries = [entry for found in pipeline.execute() for entry in found]
        for id, fields in entries:
            (data,) = fields.values()
            yield int(id.split(b"-")[0]), json.loads(data)


_SETS = {"recent": RECENT, "lasting": LASTING, "purchases": PURCHASES, "seen": SHOWN}


def _digest(user_id: str) -> str:
    """Not the name itself: the deletion is remembered for a while, the user is not."""
    return hashlib.blake2b(user_id.encode(), digest_size=16).hexdigest()


def _batch(batch: Batch) -> dict[str, object]:
    items = {item.item_id: item for item in batch.items}
    return {
        "items": [{"id": item.item_id, "data": _item_to_json(item)} for item in batch.items],
        "events": [_event_entry(event, items.get(event.item_id)) for event in batch.events],
    }


def _event_entry(event: Event, item: ItemFeatures | None) -> dict[str, object]:
    """What the script stores of one event. Members begin with the event id: equal scores then go by it."""
    data = vars(event) | {"type": event.type.value}
    price = None if item is None or math.isnan(item.price) else item.price
    member = f"{event.event_id}\0{json.dumps(data | {'price': price})}"
    scores: dict[str, tuple[float, str]] = {}
    if event.type is EventType.IMPRESSION:
        scores["seen"] = event.occurred_s, f"{event.item_id}\0{event.event_id}"
    else:
        scores["recent"] = event.occurred_s, member
    if event.type is EventType.PURCHASE:
        scores["purchases"] = event.occurred_s, member
    if (lasting := priority(event)) is not None:
        scores["lasting"] = lasting, member
    entry: dict[str, object] = {
        "id": event.event_id, "user": event.user_id, "item": event.item_id, "digest": _digest(event.user_id),
        "time": repr(event.occurred_s), "data": json.dumps(data),
        "sets": [
            {"name": name, "score": repr(score), "member": text, "limit": _SETS[name]}
            for name, (score, text) in scores.items()
        ],
    }  # fmt: skip
    if (mass := log_mass(event)) is not None:
        entry["mass"] = repr(mass)
    if event.type is EventType.PURCHASE:
        keys = [item_key(event.item_id), *([category_key(item.category)] if item and item.category else [])]
        entry |= {"day": str(day_of(event.occurred_s)), "keys": keys}
    return entry


def _shown(shown: Impressions) -> dict[str, object]:
    first = min(shown.positions)
    columns = {name: list(getattr(shown, name)) for name in ("item_ids", "positions", "propensities")}
    return {
        "id": f"{shown.ranking_id}:{first}",
        "user": shown.user_id,
        "digest": _digest(shown.user_id) if shown.user_id else "",
        "time": repr(shown.shown_s),
        "data": json.dumps(vars(shown) | columns | {"first": first, "circumstances": to_text(shown.circumstances)}),
        "seen": [f"{item_id}\0{shown.ranking_id}" for item_id in shown.item_ids],
        "limit": SHOWN,
    }


def _impressions(data: dict[str, Any]) -> Impressions:
    columns: dict[str, Any] = {name: tuple(data[name]) for name in ("item_ids", "positions", "propensities")}
    columns["circumstances"] = from_text(data.get("circumstances"))
    return Impressions(**{name: value for name, value in data.items() if name != "first"} | columns)


def _entry(data: dict[str, Any], items: dict[str, ItemFeatures]) -> HistoryEntry:
    price = math.nan if data["price"] is None else data["price"]
    return HistoryEntry(
        data["item_id"], data["session_id"], EventType(data["type"]), data["occurred_s"], data["dwell_ms"],
        items.get(data["item_id"]), data["event_id"], data["query"], price,
    )  # fmt: skip


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
