"""User histories and logs in Redis, for several machines. Durable as far as Redis is: run it with `appendonly yes`.

Keys, all below kairos:{tenant}: event:<id> and shown:<ranking>:<position> mark what was recorded; events, impressions
and whole_rankings are streams, numbered from 1, that a learner reads; item:<id> its features; popularity a sorted set
of log masses by item or group; groups names the group of an item, variants:<group> is a sorted set of the log masses
that each of its items brought; buyers and again count by items and categories. Below person:<key>: recent, lasting,
purchases, refunds and shown are the bounded sets that a profile is made of, shares what the person adds to the
popularity of items and groups; events, impressions and whole_rankings the person's positions in the streams; bought and
days the days of purchases; attributes what the person has declared, by name. attributes and attributes:expiry are all
declared attributes (name, person) by the order in which they were set last and by the time at which they end.
merged:<visitor> names the user, visitors:<user> the visitors; forgotten:<digest> is the time of a deletion.
group:<name> is where a consumer of the streams is, count:<name> sums. times are the positions of the events by the time
at which they happened, items the item ids by the time at which their features came last, trimmed what retention has
removed: redis_retention.py. revision grows with every change of what histories are made of but new entries of the logs:
a history that was read is the same while neither it nor the person's logs have grown. kairos:tenants names the tenants.
"""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import redis

from services.common.errors import Conflict
from services.common.user_attributes import Declared
from services.ranker.adapters import redis_scripts
from services.ranker.adapters.history_cache import Read
from services.ranker.adapters.ranking_bytes import from_bytes, to_bytes
from services.ranker.adapters.redis_client import tenant_prefix, unavailable_without_redis
from services.ranker.adapters.redis_events import event_from_json, event_to_json
from services.ranker.adapters.redis_retention import RedisRetention
from services.ranker.domain.event import Batch, Event, EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.person import is_visitor, person_key
from services.ranker.domain.popularity import SHARES, decayed
from services.ranker.domain.refunds import REFUNDS, UNDOING
from services.ranker.domain.stored_ranking import StoredRanking
from services.ranker.domain.user_history import LASTING, PURCHASES, RECENT, SHOWN, UserHistory, priority
from services.ranker.ports import FORGOTTEN_S, MAX_KEPT, MERGED_S, OwnedAttribute

_SETS = {"recent": RECENT, "lasting": LASTING, "purchases": PURCHASES, "refunds": REFUNDS, "shown": SHOWN}
# Of those of a person that are no part of the history: log masses by item.
_SHARES = {"shares": SHARES}
# Keys of popularity, and declared attributes, that are read at a time.
_PAGE, _ATTRIBUTES = 200, 500


@unavailable_without_redis
class RedisProfileStore(RedisRetention):
    """`clock` gives seconds since the epoch."""

    def __init__(self, client: redis.Redis, clock: Callable[[], float] = time.time) -> None:
        super().__init__(client)
        self._clock = clock
        self._history = client.register_script(redis_scripts.HISTORY)
        self._record = client.register_script(redis_scripts.RECORD)
        self._record_impressions = client.register_script(redis_scripts.RECORD_IMPRESSIONS)
        self._merge = client.register_script(redis_scripts.MERGE)
        self._set_attributes = client.register_script(redis_scripts.SET_ATTRIBUTES)
        self._delete_person = client.register_script(redis_scripts.DELETE_PERSON)

    def record(self, batches: Sequence[Batch]) -> list[list[str]]:
        recorded: list[list[str]] = [[] for _ in batches]
        # A script touches the keys of one tenant: they may lie on different nodes.
        for tenant in dict.fromkeys(batch.tenant for batch in batches):
            places = [place for place, batch in enumerate(batches) if batch.tenant == tenant]
            self._know(tenant)
            document = json.dumps([_batch(batches[place], self._clock()) for place in places])
            for place, ids in zip(places, self._record(keys=[tenant_prefix(tenant)], args=[document]), strict=True):
                recorded[place] = [id.decode() for id in ids]
        return recorded

    def record_impressions(
        self,
        tenant: str,
        impressions: Sequence[Impressions],
        items: Sequence[ItemFeatures] = (),
        whole: Sequence[StoredRanking] = (),
    ) -> int:
        self._know(tenant)
        document = {
            "now_s": self._clock(),
            "items": [_item_entry(item) for item in items],
            "impressions": [_page(page) for page in impressions],
            "whole": [
                {"mark": f"whole:{each.ranking_id}", "person": each.person, "time": repr(each.ranked_s)}
                for each in whole
            ],
        }
        rankings = [to_bytes(ranking) for ranking in (*(page.ranking for page in impressions), *whole)]
        return int(self._record_impressions(keys=[tenant_prefix(tenant)], args=[json.dumps(document), *rankings]))

    def user_history(self, tenant: str, person: str) -> UserHistory:
        known = self._histories.get(tenant, person)
        args: list[Any] = [
            person,
            *(known[:2] if known else ("", "")),
            *(x for name in _SETS for x in (name, _SETS[name] - 1)),
        ]
        revision, of_person, *answers = self._history(keys=[tenant_prefix(tenant)], args=args)
        if known is not None and not answers:
            return known.history
        recent, lasting, purchases, refunds, shown = (
            [(member, float(score)) for member, score in zip(answer[::2], answer[1::2], strict=True)]
            for answer in answers
        )
        stored = {
            member: json.loads(member.split(b"\0", 1)[1])
            for of in (recent, lasting, purchases, refunds)
            for member, _ in of
        }
        items = self.items(tenant, sorted({event[0] for event in stored.values() if event[0]}))

        def entries(of: list[tuple[bytes, float]]) -> list[HistoryEntry]:
            return [_entry(member, stored[member], items) for member, _ in of]

        pages = [(member.split(b"\0", 1)[0].decode(), shown_s) for member, shown_s in shown]
        history = UserHistory.of(entries(recent), entries(lasting), entries(purchases), entries(refunds), pages)
        self._histories.put(tenant, person, Read(revision, of_person, history))
        return history

    def items(self, tenant: str, item_ids: Sequence[str]) -> dict[str, ItemFeatures]:
        prefix = tenant_prefix(tenant)
        if not item_ids:
            return {}
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.mget([f"{prefix}item:{item_id}" for item_id in item_ids])
        pipeline.hmget(f"{prefix}groups", list(item_ids))
        found = zip(item_ids, *pipeline.execute(), strict=True)
        return {id: _item_from_json(id, data, group) for id, data, group in found if data}

    def rebuys(self, tenant: str, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
        if not keys:
            return {}
        prefix = tenant_prefix(tenant)
        buyers, again = (self._redis.hmget(f"{prefix}{name}", list(keys)) for name in ("buyers", "again"))
        pairs = zip(keys, buyers, again, strict=True)
        return {key: (int(b or 0), int(a or 0)) for key, b, a in pairs if b is not None or a is not None}

    def popularity(self, tenant: str, keys: Sequence[str], now_s: float) -> list[float]:
        if not keys:
            return []
        return decayed(self._redis.zmscore(f"{tenant_prefix(tenant)}popularity", list(keys)), now_s)

    def popular(self, tenant: str, category: str, limit: int, now_s: float) -> list[tuple[str, float]]:
        prefix, found = tenant_prefix(tenant), list[tuple[float, str, str]]()
        size, first = max(limit, _PAGE), 0
        while len(found) < limit:
            ranked = self._redis.zrevrange(f"{prefix}popularity", first, first + size - 1, withscores=True)
            if not ranked:
                break
            item_ids = self._representatives(prefix, [key.decode() for key, _ in ranked])
            stored = self._redis.mget([f"{prefix}item:{id}" for id in item_ids]) if category else [b""] * len(ranked)
            found += [
                (-mass, key.decode(), item_id)
                for (key, mass), item_id, data in zip(ranked, item_ids, stored, strict=True)
                if not category or (data and _is_in(data, category))
            ]
            first += size
        best = sorted(found)[:limit]
        return list(zip([item_id for *_, item_id in best], decayed([-mass for mass, *_ in best], now_s), strict=True))

    def _representatives(self, prefix: str, keys: Sequence[str]) -> list[str]:
        """For each key of popularity the item of the group that brought most of it; the key itself without a group."""
        pipeline = self._redis.pipeline(transaction=False)
        for key in keys:
            pipeline.zrevrange(f"{prefix}variants:{key}", 0, 0)
        return [best[0].decode() if best else key for key, best in zip(keys, pipeline.execute(), strict=True)]

    def events_after(self, tenant: str, position: int, limit: int, person: str = "") -> list[tuple[int, Event]]:
        entries = self._log(tenant, "events", position, limit, person)
        return [(place, event_from_json(entry[b"event"])) for place, entry in entries]

    def last_position(self, tenant: str) -> int:
        return int(self._redis.get(f"{tenant_prefix(tenant)}events:last") or 0)

    def impressions_after(
        self, tenant: str, position: int, limit: int, person: str = ""
    ) -> list[tuple[int, Impressions]]:
        return [
            (place, Impressions(from_bytes(e[b"ranking"]), tuple(json.loads(e[b"positions"])), float(e[b"shown_s"])))
            for place, e in self._log(tenant, "impressions", position, limit, person)
        ]

    def newest_impressions_start(self, tenant: str, count: int) -> int:
        # Positions of a tenant follow each other.
        return max(0, int(self._redis.get(f"{tenant_prefix(tenant)}impressions:last") or 0) - count)

    def whole_rankings_after(
        self, tenant: str, position: int, limit: int, person: str = ""
    ) -> list[tuple[int, StoredRanking]]:
        found = self._log(tenant, "whole_rankings", position, limit, person)
        return [(place, from_bytes(entry[b"ranking"])) for place, entry in found]

    def oldest_impressions(self, tenant: str, persons: Sequence[str]) -> dict[str, int]:
        owners = self._owners(tenant, [person for person in persons if person])
        pipeline = self._redis.pipeline(transaction=False)
        for owner in owners.values():
            pipeline.zrange(f"{tenant_prefix(tenant)}person:{owner}:impressions", 0, 0)
        return {person: int(places[0]) for person, places in zip(owners, pipeline.execute(), strict=True) if places}

    def persons(self, tenant: str, persons: Sequence[str]) -> dict[str, tuple[str, ...]]:
        owners = self._owners(tenant, persons)
        pipeline = self._redis.pipeline(transaction=False)
        for owner in owners.values():
            pipeline.smembers(f"{tenant_prefix(tenant)}visitors:{owner}")
        found = zip(owners.items(), pipeline.execute(), strict=True)
        return {
            person: (owner, *sorted(visitor.decode() for visitor in visitors)) for (person, owner), visitors in found
        }

    def set_attributes(
        self, tenant: str, person: str, declared: Sequence[Declared], removed: Sequence[str]
    ) -> list[Declared]:
        self._know(tenant)
        document = {
            "person": person, "removed": list(removed), "most": MAX_KEPT,
            "declared": [
                {"name": each.name, "data": _attribute_to_json(each), "expires_s": repr(each.expires_s)}
                for each in declared
            ],
        }  # fmt: skip
        found = iter(self._set_attributes(keys=[tenant_prefix(tenant)], args=[json.dumps(document)]))
        return self._unexpired(dict(zip(found, found, strict=True)))

    def attributes(self, tenant: str, person: str) -> list[Declared]:
        found = self._redis.hgetall(f"{tenant_prefix(tenant)}person:{self._owner(tenant, person)}:attributes")
        return self._unexpired(found)

    def attributes_after(
        self, tenant: str, position: int, limit: int, names: Collection[str]
    ) -> list[tuple[int, OwnedAttribute]]:
        prefix, found = tenant_prefix(tenant), list[tuple[int, OwnedAttribute]]()
        entries = [b""]
        while entries and len(found) < limit:
            entries = self._redis.zrange(
                f"{prefix}attributes", f"({position}", "+inf", byscore=True, withscores=True, offset=0, num=_ATTRIBUTES
            )
            asked = [
                (int(place), name, person)
                for member, place in entries
                for name, person in [member.decode().split("\0", 1)]
                if name in names
            ]
            pipeline = self._redis.pipeline(transaction=False)
            for _, name, person in asked:
                pipeline.hget(f"{prefix}person:{person}:attributes", name)
            for (place, name, person), data in zip(asked, pipeline.execute(), strict=True):
                # Without data it was removed meanwhile.
                unexpired = self._unexpired({name: data} if data else {})
                found += [(place, OwnedAttribute(person, each)) for each in unexpired]
            position = int(entries[-1][1]) if entries else position
        return found[:limit]

    def _unexpired(self, stored: Mapping[Any, bytes]) -> list[Declared]:
        now_s = self._clock()
        found = (_attribute_from_json(name, data) for name, data in stored.items())
        return sorted((each for each in found if each.expires_s > now_s), key=lambda each: each.name)

    def merge(self, tenant: str, visitor_id: str, user_id: str) -> tuple[int, int]:
        document = {
            "visitor": person_key("", visitor_id), "user": person_key(user_id, ""), "limits": _SETS | _SHARES,
            "merged_s": MERGED_S, "most_attributes": MAX_KEPT, "now_s": self._clock(),
        }  # fmt: skip
        events, impressions = self._merge(keys=[tenant_prefix(tenant)], args=[json.dumps(document)])
        if events < 0:
            raise Conflict(f"visitor {visitor_id} was merged into another user before, and stays there")
        return int(events), int(impressions)

    def delete_person(self, tenant: str, person: str) -> tuple[int, int]:
        document = {"person": person, "time": repr(self._clock()), "remembered_s": FORGOTTEN_S}
        events, impressions = self._delete_person(keys=[tenant_prefix(tenant)], args=[json.dumps(document)])
        self._histories.clear()
        return int(events), int(impressions)

    def _owner(self, tenant: str, person: str) -> str:
        return self._owners(tenant, [person])[person]

    def _owners(self, tenant: str, persons: Sequence[str]) -> dict[str, str]:
        """Whose history each person's key leads to."""
        owners = {person: person for person in persons}
        if visitors := [person for person in owners if is_visitor(person)]:
            found = self._redis.mget([f"{tenant_prefix(tenant)}merged:{visitor}" for visitor in visitors])
            owners |= {visitor: user.decode() for visitor, user in zip(visitors, found, strict=True) if user}
        return owners

    def _log(
        self, tenant: str, name: str, position: int, limit: int, person: str
    ) -> Iterator[tuple[int, dict[bytes, bytes]]]:
        prefix = tenant_prefix(tenant)
        if not person:
            entries = self._redis.xrange(f"{prefix}{name}", f"({position}-0", "+", count=limit)
        else:
            own = f"{prefix}person:{self._owner(tenant, person)}:{name}"
            places = self._redis.zrange(own, f"({position}", "+inf", byscore=True, offset=0, num=limit)
            pipeline = self._redis.pipeline(transaction=False)
            for place in places:
                pipeline.xrange(f"{prefix}{name}", f"{int(place)}-0", f"{int(place)}-0")
            entries = [entry for found in pipeline.execute() for entry in found]
        for id, fields in entries:
            yield int(id.split(b"-")[0]), fields


def _batch(batch: Batch, now_s: float) -> dict[str, object]:
    items = {item.item_id: item for item in batch.items}
    return {
        "now_s": now_s,
        "items": [_item_entry(item) for item in batch.items],
        "events": [_event_entry(event, items.get(event.item_id)) for event in batch.events],
    }


def _event_entry(event: Event, item: ItemFeatures | None) -> dict[str, object]:
    """What the script stores of one event. Members begin with the event id: equal scores then go by it."""
    price = None if item is None or math.isnan(item.price) else item.price
    kept = [
        event.item_id, event.session_id, event.type.value, event.occurred_s, event.dwell_ms, event.query, price,
    ]  # fmt: skip
    is_trade = event.type is EventType.PURCHASE or event.type in UNDOING
    if is_trade:
        kept += [event.order_id, event.quantity, item.category if item else ""]
    member = f"{event.event_id}\0{json.dumps(kept, separators=(',', ':'))}"
    scores: dict[str, tuple[float, str]] = {}
    if event.type is EventType.IMPRESSION:
        scores["shown"] = event.occurred_s, f"{event.item_id}\0{event.event_id}"
    elif event.type is not EventType.FEEDBACK:
        scores["refunds" if event.type in UNDOING else "recent"] = event.occurred_s, member
    if event.type is EventType.PURCHASE:
        scores["purchases"] = event.occurred_s, member
    if (lasting := priority(event)) is not None:
        scores["lasting"] = lasting, member
    return {
        "id": event.event_id, "person": event.person, "item": event.item_id, "time": repr(event.occurred_s),
        "kind": event.type.value, "is_trade": is_trade, "category": item.category if item else "",
        "data": event_to_json(event),
        "sets": [
            {"name": name, "score": repr(score), "member": text, "limit": _SETS[name]}
            for name, (score, text) in scores.items()
        ],
    }  # fmt: skip


def _page(page: Impressions) -> dict[str, object]:
    ranking_id, first = page.key
    return {
        "mark": f"shown:{ranking_id}:{first}",
        "person": page.person,
        "time": repr(page.known_since_s),
        "shown_s": repr(page.shown_s),
        "positions": json.dumps(list(page.positions)),
        "shown": [f"{item_id}\0{ranking_id}" for item_id in page.ranking.item_ids],
        "limit": SHOWN,
    }


def _entry(member: bytes, kept: list[Any], items: dict[str, ItemFeatures]) -> HistoryEntry:
    item_id, session_id, kind, occurred_s, dwell_ms, query, price, *traded = kept
    return HistoryEntry(
        item_id, session_id, EventType(kind), occurred_s, dwell_ms, items.get(item_id),
        member.split(b"\0", 1)[0].decode(), query, math.nan if price is None else price, *traded[:2],
    )  # fmt: skip


def _item_entry(item: ItemFeatures) -> dict[str, str]:
    return {"id": item.item_id, "data": _item_to_json(item), "group": item.group_id}


def _item_to_json(item: ItemFeatures) -> str:
    vector = None if item.vector is None else base64.b64encode(item.vector.astype("<f2").tobytes()).decode()
    price = None if math.isnan(item.price) else item.price
    return json.dumps([vector, item.model_version, price, item.category, item.brand])


def _item_from_json(item_id: str, data: bytes, group: bytes | None) -> ItemFeatures:
    vector, version, price, category, brand = json.loads(data)
    array = None if vector is None else np.frombuffer(base64.b64decode(vector), "<f2").astype(np.float32)
    group_id = group.decode() if group else ""
    return ItemFeatures(item_id, array, version, math.nan if price is None else price, category, brand, group_id)


def _attribute_to_json(each: Declared) -> str:
    return json.dumps([each.texts, each.number, each.set_s, each.expires_s])


def _attribute_from_json(name: bytes | str, data: bytes) -> Declared:
    texts, number, set_s, expires_s = json.loads(data)
    return Declared(name.decode() if isinstance(name, bytes) else name, tuple(texts), number, set_s, expires_s)


def _is_in(data: bytes, category: str) -> bool:
    own = str(json.loads(data)[3])
    return own == category or own.startswith(f"{category} > ")
