"""The tables of the profile store, and what brings an older file up to them."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from services.ranker.domain.event import EventType
from services.ranker.domain.user_history import priority_of

# Positions are AUTOINCREMENT: a consumer of the log must never meet one twice, not even after a deletion.
# Each partial index is one of the sets that a profile is made of; reading one is reading its first rows.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    position INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT, event_id TEXT, user_id TEXT, session_id TEXT,
    item_id TEXT, type TEXT, occurred_s REAL, attribution_token TEXT, query TEXT, quantity INTEGER, dwell_ms INTEGER,
    recorded_s REAL, price REAL, priority REAL, UNIQUE (tenant, event_id));
CREATE INDEX IF NOT EXISTS event_of_user_in_log ON event (tenant, user_id, position);
CREATE INDEX IF NOT EXISTS recent ON event (tenant, user_id, occurred_s DESC, event_id DESC)
    WHERE type <> 'impression';
CREATE INDEX IF NOT EXISTS lasting ON event (tenant, user_id, priority DESC, event_id DESC)
    WHERE priority IS NOT NULL;
CREATE INDEX IF NOT EXISTS purchases ON event (tenant, user_id, occurred_s DESC, event_id DESC)
    WHERE type = 'purchase';
CREATE INDEX IF NOT EXISTS shown_elsewhere ON event (tenant, user_id, occurred_s DESC, item_id DESC)
    WHERE type = 'impression';
CREATE TABLE IF NOT EXISTS impressions (
    position INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT, ranking_id TEXT, first INTEGER, user_id TEXT,
    session_id TEXT, query TEXT, shown_s REAL, model_version TEXT, item_ids TEXT, positions TEXT, propensities TEXT,
    circumstances TEXT, UNIQUE (tenant, ranking_id, first));
CREATE INDEX IF NOT EXISTS impressions_of_user ON impressions (tenant, user_id, position) WHERE user_id <> '';
CREATE INDEX IF NOT EXISTS shown ON impressions (tenant, user_id, shown_s DESC, ranking_id DESC)
    WHERE user_id <> '';
CREATE TABLE IF NOT EXISTS item (
    tenant TEXT, item_id TEXT, vector BLOB, model_version TEXT, price REAL, category TEXT, brand TEXT,
    PRIMARY KEY (tenant, item_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS popularity (
    tenant TEXT, item_id TEXT, log_mass REAL, PRIMARY KEY (tenant, item_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS most_popular ON popularity (tenant, log_mass DESC, item_id);
CREATE TABLE IF NOT EXISTS bought (
    tenant TEXT, user_id TEXT, item_id TEXT, day INTEGER, PRIMARY KEY (tenant, user_id, item_id, day)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rebuy (
    tenant TEXT, key TEXT, buyers INTEGER, again INTEGER, PRIMARY KEY (tenant, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forgotten (
    tenant TEXT, user_digest BLOB, deleted_s REAL, until_s REAL, PRIMARY KEY (tenant, user_digest)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS consumer (
    tenant TEXT, consumer_group TEXT, log TEXT, position INTEGER, PRIMARY KEY (tenant, consumer_group, log))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS count (
    tenant TEXT, name TEXT, field TEXT, value REAL, PRIMARY KEY (tenant, name, field)) WITHOUT ROWID;
"""

# From the tables of version 0, which knew events and shown items only.
_UPGRADE = """
INSERT INTO event SELECT NULL, tenant, event_id, user_id, session_id, item_id, type, occurred_s, attribution_token,
    query, quantity, dwell_ms, recorded_s, NULL, priority(event_id, type, dwell_ms, occurred_s)
    FROM event_0 ORDER BY rowid;
INSERT INTO impressions SELECT NULL, tenant, ranking_id, MIN(position), user_id, session_id, query, shown_s,
    model_version, json_group_array(item_id), json_group_array(position), json_group_array(propensity), ''
    FROM (SELECT * FROM impression ORDER BY shown_s, tenant, ranking_id, position) GROUP BY tenant, ranking_id;
INSERT INTO bought SELECT DISTINCT tenant, user_id, item_id, CAST(occurred_s / 86400 AS INTEGER) FROM event
    WHERE type = 'purchase';
CREATE TEMP TABLE times AS SELECT tenant, item_id, COUNT(*) AS days FROM bought GROUP BY tenant, user_id, item_id;
INSERT INTO rebuy SELECT tenant, 'item:' || item_id, COUNT(*), SUM(days > 1) FROM times GROUP BY tenant, item_id;
INSERT INTO rebuy SELECT tenant, 'category:' || category, COUNT(*), SUM(days > 1) FROM times
    JOIN item USING (tenant, item_id) WHERE category <> '' GROUP BY tenant, category;
DROP TABLE times;
DROP TABLE event_0;
DROP TABLE impression;
"""
# From those of version 1, which did not know the circumstances of a showing.
_UPGRADE_1 = "ALTER TABLE impressions ADD COLUMN circumstances TEXT"
VERSION = 2
_CACHE_KIB = 32 * 1024
# 16 MB: a checkpoint writes each changed page once, however often it changed.
_CHECKPOINT_PAGES = 4_000


def open_database(data_dir: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """(for writing, for reading). In WAL mode readers never wait for the writer."""
    data_dir.mkdir(parents=True, exist_ok=True)
    writing, reading = (
        sqlite3.connect(data_dir / "profiles.db", timeout=10, check_same_thread=False, isolation_level=None)
        for _ in range(2)
    )
    writing.execute("PRAGMA journal_mode=WAL")
    # What was committed survives the death of the process. A machine that loses its power may lose the last commits.
    writing.execute("PRAGMA synchronous=NORMAL")
    # What a deletion removes is overwritten, not just unlinked.
    writing.execute("PRAGMA secure_delete=ON")
    # An event touches some nine pages all over the file; with SQLite's 2 MB of cache most of them would be read again.
    writing.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    writing.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    _create(writing)
    reading.execute("PRAGMA query_only=ON")
    return writing, reading


def _create(db: sqlite3.Connection) -> None:
    db.create_function("priority", 4, lambda id, kind, *rest: priority_of(id, EventType(kind), *rest))
    db.execute("BEGIN IMMEDIATE")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    is_old = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'event'").fetchone() is not None
    script = _SCHEMA
    if is_old and version == 0:
        script = "ALTER TABLE event RENAME TO event_0;" + _SCHEMA + _UPGRADE
    elif is_old and version == 1:
        script = _SCHEMA + _UPGRADE_1
    # One transaction: executescript would end the one that is open.
    for statement in filter(str.strip, script.split(";")):
        db.execute(statement)
    db.execute(f"PRAGMA user_version={VERSION}")
    db.execute("COMMIT")
