"""Profiles in one SQLite file. Several replicas on one machine may share it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from services.ranker.adapters.circumstances_text import from_text, to_text
from services.ranker.adapters.sqlite_consumers import MOST_MARKS, SqliteConsumers, marks
from services.ranker.domain.event import Batch, Event, EventType, HistoryEntry, Impressions, ItemFeatures
from services.ranker.domain.popularity import add, decayed, log_mass
from services.ranker.domain.repurchase import category_key, day_of, item_key
from services.ranker.domain.user_history import LASTING, PURCHASES, RECENT, SHOWN, UserHistory, priority
from services.ranker.ports import FORGOTTEN_S

_ITEM = "item_id, vector, model_version, price, category, brand"
_EVENT = "event_id, user_id, session_id, item_id, type, occurred_s, attribution_token, query, quantity, dwell_ms"
_ENTRY = (
    "item_id, session_id, type, occurred_s, dwell_ms, event_id, query, price FROM event "
    "WHERE tenant = ? AND user_id = ?"
)
# By the partial index of the same name.
_RECENT = f"SELECT {_ENTRY} AND type <> 'impression' ORDER BY occurred_s DESC, event_id DESC LIMIT {RECENT}"
_LASTING = f"SELECT {_ENTRY} AND priority IS NOT NULL ORDER BY priority DESC, event_id DESC LIMIT {LASTING}"
_PURCHASES = f"SELECT {_ENTRY} AND type = 'purchase' ORDER BY occurred_s DESC, event_id DESC LIMIT {PURCHASES}"
_SHOWN_ELSEWHERE = (
    "SELECT item_id, occurred_s FROM event WHERE tenant = ? AND user_id = ? AND type = 'impression' "
    f"ORDER BY occurred_s DESC, item_id DESC LIMIT {SHOWN}"
)
_SHOWN = (
    "SELECT item_ids, shown_s FROM impressions WHERE tenant = ? AND user_id = ? AND user_id <> '' "
    f"ORDER BY shown_s DESC, ranking_id DESC LIMIT {SHOWN}"
)
# A row that is the same is read, not written.
_STORE_ITEM = """
INSERT INTO item VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET vector = excluded.vector,
    model_version = excluded.model_version, price = excluded.price, category = excluded.category, brand = excluded.brand
WHERE vector IS NOT excluded.vector OR model_version <> excluded.model_version OR price IS NOT excluded.price
    OR category <> excluded.category OR brand <> excluded.brand
"""


class SqliteProfileStore(SqliteConsumers):
    def record(self, batches: Sequence[Batch]) -> list[int]:
        with self._transaction():
            return [self._record(batch) for batch in batches]

    def record_impressions(
        self, tenant: str, impressions: Sequence[Impressions], items: Sequence[ItemFeatures] = ()
    ) -> int:
        with self._transaction():
            self._db.executemany(_STORE_ITEM, [_item_row(tenant, item) for item in items])
            gone = self._forgotten(tenant, {shown.user_id for shown in impressions})
            return sum(
                self._db.execute(
                    "INSERT OR IGNORE INTO impressions VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (tenant, shown.ranking_id, min(shown.positions), shown.user_id, shown.session_id, shown.query,
                     shown.shown_s, shown.model_version, *map(json.dumps, map(list, (
                         shown.item_ids, shown.positions, shown.propensities))), to_text(shown.circumstances)),
                ).rowcount
                for shown in impressions
                if shown.shown_s > gone.get(shown.user_id, -np.inf)
            )  # fmt: skip

    def user_history(self, tenant: str, user_id: str) -> UserHistory:
        whose = (tenant, user_id)
        with self._reading_lock:
            # All of one moment.
            self._reading.execute("BEGIN")
            try:
                acts = [self._reading.execute(query, whose).fetchall() for query in (_RECENT, _LASTING, _PURCHASES)]
                elsewhere, shown = (self._reading.execute(q, whose).fetchall() for q in (_SHOWN_ELSEWHERE, _SHOWN))
                # Each item once: the same one is acted on again and again.
                item_ids = {row[0] for rows in acts for row in rows}
                query = f"SELECT {_ITEM} FROM item WHERE tenant = ? AND item_id IN ({marks(item_ids)})"
                items = {row[0]: _features(*row) for row in self._reading.execute(query, (tenant, *item_ids))}
            finally:
                self._reading.execute("COMMIT")
        seen = [*elsewhere, *((item_id, shown_s) for ids, shown_s in shown for item_id in json.loads(ids))]
        seen.sort(key=lambda each: (each[1], each[0]), reverse=True)
        recent, lasting, purchases = ([_entry(row, items) for row in rows] for rows in acts)
        return UserHistory(recent, lasting, purchases, seen[:SHOWN])

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

    def popularity(self, tenant: str, item_ids: Sequence[str], now_s: float) -> list[float]:
        query = f"SELECT item_id, log_mass FROM popularity WHERE tenant = ? AND item_id IN ({marks(item_ids)})"
        known = dict(self._read(query, (tenant, *item_ids)))
        return [decayed(known.get(item_id), now_s) for item_id in item_ids]

    def popular(self, tenant: str, category: str, limit: int, now_s: float) -> list[tuple[str, float]]:
        rows = self._read(
            "SELECT p.item_id, p.log_mass FROM popularity p "
            "LEFT JOIN item i ON i.tenant = p.tenant AND i.item_id = p.item_id "
            "WHERE p.tenant = ?1 AND "
            "(?2 = '' OR i.category = ?2 OR substr(i.category, 1, length(?2) + 3) = ?2 || ' > ') "
            "ORDER BY p.log_mass DESC, p.item_id LIMIT ?3",
            (tenant, category, limit),
        )
        return [(item_id, decayed(mass, now_s)) for item_id, mass in rows]

    def events_after(self, tenant: str, position: int, limit: int, user_id: str = "") -> list[tuple[int, Event]]:
        rows = self._read_log(f"position, {_EVENT} FROM event", tenant, position, limit, user_id)
        return [
            (place, Event(id, user, session, item, EventType(kind), *rest))
            for place, id, user, session, item, kind, *rest in rows
        ]

    def impressions_after(
        self, tenant: str, position: int, limit: int, user_id: str = ""
    ) -> list[tuple[int, Impressions]]:
        columns = "position, ranking_id, user_id, session_id, query, shown_s, model_version, item_ids, positions, "
        columns += "propensities, circumstances FROM impressions"
        rows = self._read_log(columns, tenant, position, limit, user_id)
        return [
            (place, replace(Impressions(*rest, *map(_column, columns)), circumstances=from_text(around)))
            for place, *rest, columns, around in ((*row[:-4], row[-4:-1], row[-1]) for row in rows)
        ]

    def delete_user(self, tenant: str, user_id: str) -> tuple[int, int]:
        now_s = time.time()
        with self._transaction():
            events, shown, _ = (
                self._db.execute(f"DELETE FROM {table} WHERE tenant = ? AND user_id = ?", (tenant, user_id)).rowcount
                for table in ("event", "impressions", "bought")
            )
            self._db.execute("DELETE FROM forgotten WHERE until_s <= ?", (now_s,))
            self._db.execute(
                "INSERT OR REPLACE INTO forgotten VALUES (?, ?, ?, ?)",
                (tenant, _digest(user_id), now_s, now_s + FORGOTTEN_S),
            )
        with self._lock:
            # Empties the log of changes too, where the old rows still stand.
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return events, shown

    def _record(self, batch: Batch) -> int:
        self._db.executemany(_STORE_ITEM, [_item_row(batch.tenant, item) for item in batch.items])
        items = {item.item_id: item for item in batch.items}
        gone = self._forgotten(batch.tenant, {event.user_id for event in batch.events})
        return sum(
            self._insert(batch.tenant, event, items.get(event.item_id))
            for event in batch.events
            if event.occurred_s > gone.get(event.user_id, -np.inf)
        )

    def _insert(self, tenant: str, event: Event, item: ItemFeatures | None) -> bool:
        price = None if item is None or np.isnan(item.price) else item.price
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO event VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (tenant, event.event_id, event.user_id, event.session_id, event.item_id, event.type.value,
             event.occurred_s, event.attribution_token, event.query, event.quantity, event.dwell_ms, time.time(),
             price, priority(event)),
        )  # fmt: skip
        if cursor.rowcount == 0:
            return False
        mass = log_mass(event)
        if mass is not None:
            row = self._db.execute(
                "SELECT log_mass FROM popularity WHERE tenant = ? AND item_id = ?", (tenant, event.item_id)
            ).fetchone()
            self._db.execute(
                "INSERT OR REPLACE INTO popularity VALUES (?, ?, ?)",
                (tenant, event.item_id, add(row[0] if row else None, mass)),
            )
        if event.type is EventType.PURCHASE:
            self._count_purchase(tenant, event, item)
        return True

    def _count_purchase(self, tenant: str, event: Event, item: ItemFeatures | None) -> None:
        row = (tenant, event.user_id, event.item_id)
        if not self._db.execute(
            "INSERT OR IGNORE INTO bought VALUES (?, ?, ?, ?)", (*row, day_of(event.occurred_s))
        ).rowcount:
            return
        days = self._db.execute(
            "SELECT COUNT(*) FROM bought WHERE tenant = ? AND user_id = ? AND item_id = ?", row
        ).fetchone()[0]
        keys = [item_key(event.item_id), *([category_key(item.category)] if item and item.category else [])]
        self._db.executemany(
            "INSERT INTO rebuy VALUES (?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET buyers = buyers + excluded.buyers, again = again + excluded.again",
            [(tenant, key, int(days == 1), int(days == 2)) for key in keys],
        )

    def _forgotten(self, tenant: str, user_ids: set[str]) -> dict[str, float]:
        """When each was deleted, of those who were within the last hour."""
        digests = {_digest(user_id): user_id for user_id in user_ids if user_id}
        rows = self._db.execute(
            f"SELECT user_digest, deleted_s FROM forgotten WHERE tenant = ? AND until_s > ? "
            f"AND user_digest IN ({marks(digests)})",
            (tenant, time.time(), *digests),
        )
        return {digests[digest]: deleted_s for digest, deleted_s in rows}

    def _read_log(self, columns: str, tenant: str, position: int, limit: int, user_id: str) -> list[Any]:
        whose, values = ("AND user_id = ?", (user_id,)) if user_id else ("", ())
        query = f"SELECT {columns} WHERE tenant = ? AND position > ? {whose} ORDER BY position LIMIT ?"
        return self._read(query, (tenant, position, *values, limit))


def _column(text: str) -> Any:
    return tuple(json.loads(text))


def _digest(user_id: str) -> bytes:
    """Not the name itself: the deletion is remembered for a while, the user is not."""
    return hashlib.blake2b(user_id.encode(), digest_size=16).digest()


def _item_row(tenant: str, item: ItemFeatures) -> tuple[object, ...]:
    vector = None if item.vector is None else item.vector.astype("<f2").tobytes()
    price = None if np.isnan(item.price) else item.price
    return tenant, item.item_id, vector, item.model_version, price, item.category, item.brand


def _entry(row: Sequence[Any], items: Mapping[str, ItemFeatures]) -> HistoryEntry:
    item_id, session, kind, occurred, dwell, event_id, query, price = row
    return HistoryEntry(
        item_id, session, EventType(kind), occurred, dwell, items.get(item_id), event_id, query,
        float("nan") if price is None else price,
    )  # fmt: skip


def _features(
    item_id: str, vector: bytes | None, version: str, price: float | None, category: str, brand: str
) -> ItemFeatures:
    array = None if vector is None else np.frombuffer(vector, "<f2").astype(np.float32)
    return ItemFeatures(item_id, array, version, float("nan") if price is None else price, category, brand)
