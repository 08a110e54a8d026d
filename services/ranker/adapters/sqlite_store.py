"""User histories and logs in one SQLite file. Several replicas on one machine may share it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from services.common.money import NANOS, Money
from services.ranker.adapters.history_cache import Read
from services.ranker.adapters.ranking_bytes import from_bytes, to_bytes
from services.ranker.adapters.sqlite_consumers import MOST_MARKS, marks
from services.ranker.adapters.sqlite_persons import SqlitePersons
from services.ranker.adapters.sqlite_popularity import PopularityInMemory
from services.ranker.adapters.sqlite_totals import (
    ENTRY,
    EVENT_ID,
    PURCHASE_EVENTS,
    RECENT_EVENTS,
    REFUND_EVENTS,
    entry_of,
)
from services.ranker.domain.event import Batch, Event, EventType, Feedback, HistoryEntry, ItemFeatures
from services.ranker.domain.impressions import Impressions
from services.ranker.domain.popularity import decayed
from services.ranker.domain.refunds import UNDOING
from services.ranker.domain.stored_ranking import StoredRanking
from services.ranker.domain.user_history import LASTING, SHOWN, UserHistory, priority

_ITEM = "item_id, vector, model_version, price, category, brand, group_id"
_EVENT = (
    "event_id, user_id, session_id, item_id, type, occurred_s, attribution_token, query, quantity, dwell_ms, "
    "visitor_id, currency, paid_units, paid_nanos, order_id, quote_id, feedback"
)
_LASTING_EVENTS = f"SELECT {ENTRY} AND priority IS NOT NULL ORDER BY priority DESC, event_id DESC LIMIT {LASTING}"
_HISTORY = (RECENT_EVENTS, _LASTING_EVENTS, PURCHASE_EVENTS, REFUND_EVENTS)
_SHOWN_ELSEWHERE = (
    "SELECT item_id, occurred_s FROM event WHERE tenant = ? AND person = ? AND type = 'impression' "
    f"ORDER BY occurred_s DESC, item_id DESC LIMIT {SHOWN}"
)
_SHOWN = (
    "SELECT item_ids, shown_s FROM impressions WHERE tenant = ? AND person = ? AND person <> '' "
    f"ORDER BY shown_s DESC, ranking_id DESC LIMIT {SHOWN}"
)
# A merge with a visitor who has events older than the user's last one shows in the number of visitors.
_STAMP = """
SELECT (SELECT revision FROM history_revision WHERE tenant = ?1),
    (SELECT MAX(position) FROM event WHERE tenant = ?1 AND person = ?2),
    (SELECT COUNT(*) FROM merged WHERE tenant = ?1 AND person = ?2),
    (SELECT MAX(position) FROM impressions WHERE tenant = ?1 AND person = ?2 AND person <> '')
"""
# An item that has not changed is read, not written, more than once a day.
_STORE_ITEM = """
INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET vector = excluded.vector,
    model_version = excluded.model_version, price = excluded.price, category = excluded.category,
    brand = excluded.brand, stored_s = excluded.stored_s,
    group_id = CASE excluded.group_id WHEN '' THEN group_id ELSE excluded.group_id END
WHERE vector IS NOT excluded.vector OR model_version <> excluded.model_version OR price IS NOT excluded.price
    OR category <> excluded.category OR brand <> excluded.brand OR stored_s < excluded.stored_s - 86400
    OR (excluded.group_id <> '' AND group_id <> excluded.group_id)
"""
# The item of a group that brought most of its popularity; for all others the item itself.
_POPULAR = """
SELECT COALESCE(v.item_id, p.item_id), p.log_mass FROM popularity p
LEFT JOIN variant_popularity v ON v.tenant = p.tenant AND v.group_id = p.item_id AND v.item_id = (
    SELECT item_id FROM variant_popularity WHERE tenant = p.tenant AND group_id = p.item_id
    ORDER BY log_mass DESC, item_id LIMIT 1)
LEFT JOIN item i ON i.tenant = p.tenant AND i.item_id = COALESCE(v.item_id, p.item_id)
WHERE p.tenant = ?1 AND (?2 = '' OR i.category = ?2 OR substr(i.category, 1, length(?2) + 3) = ?2 || ' > ')
ORDER BY p.log_mass DESC, p.item_id LIMIT ?3
"""


class SqliteProfileStore(SqlitePersons):
    def __init__(self, data_dir: Path, clock: Callable[[], float] = time.time) -> None:
        super().__init__(data_dir, clock)
        self._masses = PopularityInMemory()

    def record(self, batches: Sequence[Batch]) -> list[list[str]]:
        with self._transaction():
            return [self._record(batch) for batch in batches]

    def record_impressions(
        self,
        tenant: str,
        impressions: Sequence[Impressions],
        items: Sequence[ItemFeatures] = (),
        whole: Sequence[StoredRanking] = (),
    ) -> int:
        with self._transaction():
            self._db.executemany(_STORE_ITEM, [_item_row(tenant, item, self._clock()) for item in items])
            persons = {page.person for page in impressions} | {ranking.person for ranking in whole}
            gone, owners = self._forgotten(tenant, persons), self._owners(self._db, tenant, persons)
            self._db.executemany(
                "INSERT OR IGNORE INTO whole_ranking VALUES (NULL, ?, ?, ?, ?, ?)",
                [
                    (
                        tenant,
                        ranking.ranking_id,
                        owners.get(ranking.person, ranking.person),
                        ranking.ranked_s,
                        to_bytes(ranking),
                    )
                    for ranking in whole
                    if ranking.ranked_s > gone[ranking.person]
                ],
            )
            return sum(
                self._db.execute(
                    "INSERT OR IGNORE INTO impressions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (tenant, *page.key, owners.get(page.person, page.person), page.ranking.query, page.shown_s,
                     json.dumps(list(page.ranking.item_ids)), json.dumps(list(page.positions)),
                     to_bytes(page.ranking)),
                ).rowcount
                for page in impressions
                if page.known_since_s > gone[page.person]
            )  # fmt: skip

    def user_history(self, tenant: str, person: str) -> UserHistory:
        with self._reading_lock:
            # All of one moment.
            self._reading.execute("BEGIN")
            try:
                owner = self._owners(self._reading, tenant, [person]).get(person, person)
                revision, last_event, merged, last_page = self._reading.execute(_STAMP, (tenant, owner)).fetchone()
                known, of_events = self._histories.get(tenant, person), (owner, last_event, merged)
                stamp = (revision, (*of_events, last_page))
                if known is not None and known[:2] == stamp:
                    return known.history
                shown = self._shown(tenant, owner)
                # While the revision is the same, an event that was read before is, and so is its item.
                if known is None or known.revision != revision:
                    history = self._history(tenant, owner, {}, shown)
                elif known.of_events == of_events:
                    history = known.history.showing(shown)
                else:
                    history = self._history(tenant, owner, known.history.entries, shown)
            finally:
                self._reading.execute("COMMIT")
        self._histories.put(tenant, person, Read(*stamp, history, of_events))
        return history

    def _shown(self, tenant: str, person: str) -> list[tuple[str, float]]:
        elsewhere, pages = (self._reading.execute(of, (tenant, person)).fetchall() for of in (_SHOWN_ELSEWHERE, _SHOWN))
        shown = [*elsewhere, *((item_id, shown_s) for ids, shown_s in pages for item_id in json.loads(ids))]
        return sorted(shown, key=lambda each: (each[1], each[0]), reverse=True)[:SHOWN]

    def _history(
        self, tenant: str, person: str, known: Mapping[str, HistoryEntry], shown: Sequence[tuple[str, float]]
    ) -> UserHistory:
        """`known` are entries by event id, with their items as they are now."""
        events = [self._reading.execute(query, (tenant, person)).fetchall() for query in _HISTORY]
        # Each item once: a history often has several events on the same item.
        items = {entry.item_id: entry.features for entry in known.values()}
        item_ids = {row[0] for of in events for row in of} - items.keys()
        query = f"SELECT {_ITEM} FROM item WHERE tenant = ? AND item_id IN ({marks(item_ids)})"
        rows = self._reading.execute(query, (tenant, *item_ids)).fetchall() if item_ids else []
        items |= {row[0]: _features(*row) for row in rows}
        recent, lasting, purchases, refunds = (
            [known.get(row[EVENT_ID]) or entry_of(row, items) for row in of] for of in events
        )
        return UserHistory.of(recent, lasting, purchases, refunds, shown)

    def items(self, tenant: str, item_ids: Sequence[str]) -> dict[str, ItemFeatures]:
        found: dict[str, ItemFeatures] = {}
        for first in range(0, len(item_ids), MOST_MARKS):
            some = item_ids[first : first + MOST_MARKS]
            query = f"SELECT {_ITEM} FROM item WHERE tenant = ? AND item_id IN ({marks(some)})"
            found |= {row[0]: _features(*row) for row in self._read(query, (tenant, *some))}
        return found

    def rebuys(self, tenant: str, keys: Sequence[str]) -> dict[str, tuple[int, int]]:
        query = f"SELECT key, buyers, again FROM rebuy WHERE tenant = ? AND key IN ({marks(keys)})"
        return {key: (buyers, again) for key, buyers, again in self._read(query, (tenant, *keys))}

    def popularity(self, tenant: str, keys: Sequence[str], now_s: float) -> list[float]:
        with self._reading_lock:
            known = self._masses.log_masses(self._reading, tenant, keys)
            masses = [known.get(key) for key in keys]
        return decayed(masses, now_s)

    def popular(self, tenant: str, category: str, limit: int, now_s: float) -> list[tuple[str, float]]:
        rows = self._read(_POPULAR, (tenant, category, limit))
        return list(zip([item_id for item_id, _ in rows], decayed([mass for _, mass in rows], now_s), strict=True))

    def events_after(self, tenant: str, position: int, limit: int, person: str = "") -> list[tuple[int, Event]]:
        rows = self._read_log(f"position, {_EVENT} FROM event", tenant, position, limit, person)
        return [(row[0], _event(*row[1:])) for row in rows]

    def last_position(self, tenant: str) -> int:
        with self._reading_lock:
            row = self._reading.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
        return int(row[0]) if row else 0

    def impressions_after(
        self, tenant: str, position: int, limit: int, person: str = ""
    ) -> list[tuple[int, Impressions]]:
        rows = self._read_log("position, ranking, positions, shown_s FROM impressions", tenant, position, limit, person)
        return [
            (place, Impressions(from_bytes(ranking), tuple(json.loads(positions)), shown_s))
            for place, ranking, positions, shown_s in rows
        ]

    def newest_impressions_start(self, tenant: str, count: int) -> int:
        query = "SELECT position FROM impressions WHERE tenant = ? ORDER BY position DESC LIMIT 1 OFFSET ?"
        return next((int(position) for (position,) in self._read(query, (tenant, count))), 0)

    def whole_rankings_after(
        self, tenant: str, position: int, limit: int, person: str = ""
    ) -> list[tuple[int, StoredRanking]]:
        rows = self._read_log("position, ranking FROM whole_ranking", tenant, position, limit, person)
        return [(place, from_bytes(ranking)) for place, ranking in rows]

    def oldest_impressions(self, tenant: str, persons: Sequence[str]) -> dict[str, int]:
        found: dict[str, int] = {}
        with self._reading_lock:
            owners = self._owners(self._reading, tenant, persons)
            owned = sorted({owners.get(person, person) for person in persons} - {""})
            for some in (owned[at : at + MOST_MARKS] for at in range(0, len(owned), MOST_MARKS)):
                query = (
                    "SELECT person, MIN(position) FROM impressions WHERE tenant = ? AND person <> '' "
                    f"AND person IN ({marks(some)}) GROUP BY person"
                )
                found |= dict(self._reading.execute(query, (tenant, *some)))
        firsts = {person: found.get(owners.get(person, person)) for person in persons}
        return {person: first for person, first in firsts.items() if first is not None}

    def _record(self, batch: Batch) -> list[str]:
        tenant = batch.tenant
        self._db.executemany(_STORE_ITEM, [_item_row(tenant, item, self._clock()) for item in batch.items])
        self._join_groups(tenant, batch.items)
        items, persons = {item.item_id: item for item in batch.items}, {event.person for event in batch.events}
        gone, owners = self._forgotten(tenant, persons), self._owners(self._db, tenant, persons)
        keys = self._keys(tenant, {event.item_id for event in batch.events})
        query = "SELECT until_s FROM trimmed WHERE tenant = ? AND log = 'events'"
        (until_s,) = self._db.execute(query, (tenant,)).fetchone() or (-math.inf,)
        return [
            event.event_id
            for event in batch.events
            if event.occurred_s > max(gone[event.person], until_s)
            and self._insert(
                tenant, event, owners.get(event.person, event.person), items.get(event.item_id), keys[event.item_id]
            )
        ]

    def _insert(self, tenant: str, event: Event, person: str, item: ItemFeatures | None, key: str) -> bool:
        is_purchase, is_refund = event.type is EventType.PURCHASE, event.type in UNDOING
        undone = self._undone(tenant, person) if is_purchase or is_refund else frozenset[str]()
        price = None if item is None or math.isnan(item.price) else item.price
        units, nanos = event.price.to_units() if event.price is not None else (0, 0)
        cursor = self._db.execute(
            f"INSERT OR IGNORE INTO event VALUES (NULL{', ?' * 23})",
            (tenant, event.event_id, person, event.user_id, event.visitor_id, event.session_id, event.item_id,
             event.type.value, event.occurred_s, event.attribution_token, event.query, event.quantity, event.dwell_ms,
             self._clock(), price, priority(event), event.order_id, event.quote_id,
             event.price.currency if event.price is not None else "", units, nanos,
             item.category if item and is_purchase else "",
             "" if event.feedback is None else json.dumps(vars(event.feedback))),
        )  # fmt: skip
        if cursor.rowcount == 0:
            return False
        if is_purchase or is_refund:
            undone = self._settle(tenant, person, undone, event.event_id)
        if is_purchase and event.event_id not in undone:
            category = item.category if item else ""
            self._count_purchase(tenant, person, event, key, cursor.lastrowid or 0, category)
        elif not is_purchase:
            self._count_popularity(tenant, person, event, key)
        return True

    def _read_log(self, columns: str, tenant: str, position: int, limit: int, person: str) -> list[Any]:
        whose, values = "", tuple[str, ...]()
        if person:
            whose, values = "AND person = ?", (self.persons(tenant, [person])[person][0],)
        query = f"SELECT {columns} WHERE tenant = ? AND position > ? {whose} ORDER BY position LIMIT ?"
        return self._read(query, (tenant, position, *values, limit))


def _item_row(tenant: str, item: ItemFeatures, now_s: float) -> tuple[object, ...]:
    vector = None if item.vector is None else item.vector.astype("<f2").tobytes()
    price = None if math.isnan(item.price) else item.price
    return (
        tenant, item.item_id, vector, item.model_version, price, item.category, item.brand, now_s, item.group_id,
    )  # fmt: skip


def _event(*columns: Any) -> Event:
    """The columns of _EVENT."""
    id, user, session, item, kind, *rest, currency, units, nanos, order_id, quote_id, feedback = columns
    occurred_s, token, query, quantity, dwell_ms, visitor = rest
    price = Money(currency, Decimal(units) + Decimal(nanos) / NANOS) if currency else None
    return Event(
        id, user, session, item, EventType(kind), occurred_s, token, query, quantity, dwell_ms, visitor, price,
        order_id, quote_id, Feedback(**json.loads(feedback)) if feedback else None,
    )  # fmt: skip


def _features(
    item_id: str, vector: bytes | None, version: str, price: float | None, category: str, brand: str, group_id: str
) -> ItemFeatures:
    array = None if vector is None else np.frombuffer(vector, "<f2").astype(np.float32)
    return ItemFeatures(item_id, array, version, math.nan if price is None else price, category, brand, group_id)
