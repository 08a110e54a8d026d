"""Profiles in one SQLite file. Several replicas on one machine may share it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from services.ranker.domain.event import Event, EventType, HistoryEntry, Impressions, ItemFeatures
from services.ranker.domain.popularity import add, decayed, log_mass
from services.ranker.ports import HISTORY

_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    tenant TEXT, event_id TEXT, user_id TEXT, session_id TEXT, item_id TEXT, type TEXT, occurred_s REAL,
    attribution_token TEXT, query TEXT, quantity INTEGER, dwell_ms INTEGER, recorded_s REAL,
    PRIMARY KEY (tenant, event_id));
CREATE INDEX IF NOT EXISTS event_of_user ON event (tenant, user_id, occurred_s DESC, event_id DESC);
CREATE TABLE IF NOT EXISTS item (
    tenant TEXT, item_id TEXT, vector BLOB, model_version TEXT, price REAL, category TEXT, brand TEXT,
    PRIMARY KEY (tenant, item_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS popularity (
    tenant TEXT, item_id TEXT, log_mass REAL, PRIMARY KEY (tenant, item_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS most_popular ON popularity (tenant, log_mass DESC, item_id);
CREATE TABLE IF NOT EXISTS impression (
    tenant TEXT, ranking_id TEXT, position INTEGER, item_id TEXT, propensity REAL, user_id TEXT, session_id TEXT,
    query TEXT, shown_s REAL, model_version TEXT,
    PRIMARY KEY (tenant, ranking_id, position)) WITHOUT ROWID;
"""


class SqliteProfileStore:
    """WAL, synchronous=NORMAL: what was committed survives the death of the process."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(data_dir / "profiles.db", timeout=10, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def record(self, tenant: str, events: Sequence[Event], items: Sequence[ItemFeatures]) -> int:
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO item VALUES (?, ?, ?, ?, ?, ?, ?)", [_item_row(tenant, item) for item in items]
            )
            return sum(self._insert(tenant, event) for event in events)

    def record_impressions(self, tenant: str, impressions: Sequence[Impressions]) -> int:
        recorded = 0
        with self._transaction():
            for shown in impressions:
                rows = [
                    (tenant, shown.ranking_id, position, item_id, propensity, shown.user_id, shown.session_id,
                     shown.query, shown.shown_s, shown.model_version)
                    for position, item_id, propensity in zip(
                        shown.positions, shown.item_ids, shown.propensities, strict=True
                    )
                ]  # fmt: skip
                cursor = self._db.executemany(
                    "INSERT OR IGNORE INTO impression VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
                )
                recorded += cursor.rowcount > 0
        return recorded

    def history(self, tenant: str, user_id: str, limit: int = HISTORY) -> list[HistoryEntry]:
        with self._lock:
            rows = self._db.execute(
                "SELECT e.item_id, e.session_id, e.type, e.occurred_s, e.dwell_ms, "
                "i.item_id, i.vector, i.model_version, i.price, i.category, i.brand FROM event e "
                "LEFT JOIN item i ON i.tenant = e.tenant AND i.item_id = e.item_id "
                "WHERE e.tenant = ? AND e.user_id = ? ORDER BY e.occurred_s DESC, e.event_id DESC LIMIT ?",
                (tenant, user_id, limit),
            ).fetchall()
        return [
            HistoryEntry(item_id, session, EventType(kind), occurred, dwell, _features(*item))
            for item_id, session, kind, occurred, dwell, *item in rows
        ]

    def popularity(self, tenant: str, item_ids: Sequence[str], now_s: float) -> list[float]:
        marks = ",".join("?" * len(item_ids))
        with self._lock:
            known = dict(
                self._db.execute(
                    f"SELECT item_id, log_mass FROM popularity WHERE tenant = ? AND item_id IN ({marks})",
                    (tenant, *item_ids),
                )
            )
        return [decayed(known.get(item_id), now_s) for item_id in item_ids]

    def popular(self, tenant: str, category: str, limit: int, now_s: float) -> list[tuple[str, float]]:
        with self._lock:
            rows = self._db.execute(
                "SELECT p.item_id, p.log_mass FROM popularity p "
                "LEFT JOIN item i ON i.tenant = p.tenant AND i.item_id = p.item_id "
                "WHERE p.tenant = ?1 AND "
                "(?2 = '' OR i.category = ?2 OR substr(i.category, 1, length(?2) + 3) = ?2 || ' > ') "
                "ORDER BY p.log_mass DESC, p.item_id LIMIT ?3",
                (tenant, category, limit),
            ).fetchall()
        return [(item_id, decayed(mass, now_s)) for item_id, mass in rows]

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _insert(self, tenant: str, event: Event) -> bool:
        cursor = self._db.execute(
            "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (tenant, event.event_id, event.user_id, event.session_id, event.item_id, event.type.value,
             event.occurred_s, event.attribution_token, event.query, event.quantity, event.dwell_ms, time.time()),
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
        return True

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise


def _item_row(tenant: str, item: ItemFeatures) -> tuple[object, ...]:
    vector = None if item.vector is None else item.vector.astype("<f2").tobytes()
    price = None if np.isnan(item.price) else item.price
    return tenant, item.item_id, vector, item.model_version, price, item.category, item.brand


def _features(
    item_id: str | None, vector: bytes | None, version: str, price: float | None, category: str, brand: str
) -> ItemFeatures | None:
    if item_id is None:
        return None
    array = None if vector is None else np.frombuffer(vector, "<f2").astype(np.float32)
    return ItemFeatures(item_id, array, version, float("nan") if price is None else price, category, brand)
