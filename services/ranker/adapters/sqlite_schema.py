"""The tables of the profile store: a file of the version before is brought up to date, any other is refused."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from services.common.errors import InvalidArgument

PROFILES_FILE = "profiles.db"
# Rankings and sessions expire: this file needs no backup.
RANKINGS_FILE = "rankings.db"
# Of the tables in PROFILES_FILE. Files from version OLDEST on are brought to VERSION when they are opened.
VERSION = 6
OLDEST = 4

# Positions are AUTOINCREMENT: a consumer of a log never reads one twice, not even after a deletion.
# Each partial index is one of the sets that a user history is made of: reading the set is reading its first rows.
# `person` is the key of whose event or page it is now; the ids are those that were sent. `event.price` and, of a
# purchase, `category` are the item's at the time; `currency`, `paid_units` and `paid_nanos` are what was paid.
# `popularity.item_id` is a group's id for the items of a group; `variant_popularity` is what each of them brought.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS event (
    position INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT, event_id TEXT, person TEXT, user_id TEXT, visitor_id TEXT,
    session_id TEXT, item_id TEXT, type TEXT, occurred_s REAL, attribution_token TEXT, query TEXT, quantity INTEGER,
    dwell_ms INTEGER, recorded_s REAL, price REAL, priority REAL, order_id TEXT NOT NULL DEFAULT '',
    quote_id TEXT NOT NULL DEFAULT '', currency TEXT NOT NULL DEFAULT '', paid_units INTEGER NOT NULL DEFAULT 0,
    paid_nanos INTEGER NOT NULL DEFAULT 0, category TEXT NOT NULL DEFAULT '', feedback TEXT NOT NULL DEFAULT '',
    UNIQUE (tenant, event_id));
CREATE INDEX IF NOT EXISTS event_in_log ON event (tenant, position);
CREATE INDEX IF NOT EXISTS event_of_person_in_log ON event (tenant, person, position);
CREATE INDEX IF NOT EXISTS recent ON event (tenant, person, occurred_s DESC, event_id DESC)
    WHERE type <> 'impression';
CREATE INDEX IF NOT EXISTS lasting ON event (tenant, person, priority DESC, event_id DESC)
    WHERE priority IS NOT NULL;
CREATE INDEX IF NOT EXISTS purchases ON event (tenant, person, occurred_s DESC, event_id DESC)
    WHERE type = 'purchase';
CREATE INDEX IF NOT EXISTS refunds ON event (tenant, person, occurred_s DESC, event_id DESC)
    WHERE type IN ('refund', 'cancellation');
CREATE INDEX IF NOT EXISTS shown_elsewhere ON event (tenant, person, occurred_s DESC, item_id DESC)
    WHERE type = 'impression';
CREATE INDEX IF NOT EXISTS event_by_time ON event (tenant, occurred_s, position);
CREATE TABLE IF NOT EXISTS impressions (
    position INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT, ranking_id TEXT, first INTEGER, person TEXT, query TEXT,
    shown_s REAL, item_ids TEXT, positions TEXT, ranking BLOB, UNIQUE (tenant, ranking_id, first));
CREATE INDEX IF NOT EXISTS impressions_in_log ON impressions (tenant, position);
CREATE INDEX IF NOT EXISTS impressions_of_person ON impressions (tenant, person, position) WHERE person <> '';
CREATE INDEX IF NOT EXISTS shown ON impressions (tenant, person, shown_s DESC, ranking_id DESC)
    WHERE person <> '';
CREATE TABLE IF NOT EXISTS whole_ranking (
    position INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT, ranking_id TEXT, person TEXT, ranked_s REAL,
    ranking BLOB, UNIQUE (tenant, ranking_id));
CREATE INDEX IF NOT EXISTS whole_ranking_in_log ON whole_ranking (tenant, position);
CREATE INDEX IF NOT EXISTS whole_ranking_of_person ON whole_ranking (tenant, person, position) WHERE person <> '';
CREATE TABLE IF NOT EXISTS item (
    tenant TEXT, item_id TEXT, vector BLOB, model_version TEXT, price REAL, category TEXT, brand TEXT,
    stored_s REAL, group_id TEXT NOT NULL DEFAULT '', PRIMARY KEY (tenant, item_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS item_by_time ON item (tenant, stored_s);
CREATE TABLE IF NOT EXISTS popularity (
    tenant TEXT, item_id TEXT, log_mass REAL, PRIMARY KEY (tenant, item_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS variant_popularity (
    tenant TEXT, group_id TEXT, item_id TEXT, log_mass REAL, PRIMARY KEY (tenant, group_id, item_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS most_popular ON popularity (tenant, log_mass DESC, item_id);
CREATE TABLE IF NOT EXISTS popularity_share (
    tenant TEXT, person TEXT, item_id TEXT, log_mass REAL, PRIMARY KEY (tenant, person, item_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bought (
    tenant TEXT, person TEXT, item_id TEXT, day INTEGER, position INTEGER, category TEXT,
    PRIMARY KEY (tenant, person, item_id, day)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS rebuy (
    tenant TEXT, key TEXT, buyers INTEGER, again INTEGER, PRIMARY KEY (tenant, key)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS merged (
    tenant TEXT, visitor TEXT, person TEXT, merged_s REAL, PRIMARY KEY (tenant, visitor)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS visitors_of_person ON merged (tenant, person);
CREATE TABLE IF NOT EXISTS attribute (
    position INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT, person TEXT, name TEXT, texts TEXT, number REAL,
    set_s REAL, expires_s REAL, UNIQUE (tenant, person, name));
CREATE INDEX IF NOT EXISTS attribute_in_order ON attribute (tenant, position);
CREATE INDEX IF NOT EXISTS attribute_by_expiry ON attribute (tenant, expires_s);
CREATE TABLE IF NOT EXISTS forgotten (
    tenant TEXT, person_digest BLOB, deleted_s REAL, until_s REAL, PRIMARY KEY (tenant, person_digest)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS consumer (
    tenant TEXT, consumer_group TEXT, log TEXT, position INTEGER, PRIMARY KEY (tenant, consumer_group, log))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trimmed (
    tenant TEXT, log TEXT, position INTEGER, until_s REAL, PRIMARY KEY (tenant, log)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS history_revision (tenant TEXT PRIMARY KEY, revision INTEGER) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS count (
    tenant TEXT, name TEXT, field TEXT, value REAL, PRIMARY KEY (tenant, name, field)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
"""
# `history_revision` grows with every change of what user histories are made of but new events and pages: a history that
# was read is still the same while it has not grown. See sqlite_store.py.
_RAISE = "INSERT INTO history_revision VALUES (%s.tenant, 1) ON CONFLICT DO UPDATE SET revision = revision + 1"
_TRIGGERS = [
    f"CREATE TRIGGER IF NOT EXISTS {name} AFTER {change} BEGIN {_RAISE % row}; END"
    for name, change, row in (
        ("item_added", "INSERT ON item", "NEW"),
        (
            "item_changed",
            "UPDATE ON item WHEN (OLD.vector, OLD.model_version, OLD.price, OLD.category, OLD.brand, OLD.group_id) "
            "IS NOT (NEW.vector, NEW.model_version, NEW.price, NEW.category, NEW.brand, NEW.group_id)",
            "NEW",
        ),
        *((f"{table}_removed", f"DELETE ON {table}", "OLD") for table in ("item", "event", "impressions", "merged")),
    )
]
# By the version that they lead to. Other tables and indexes of that version are new.
_ADDED = {
    5: (
        "ALTER TABLE event ADD COLUMN order_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE event ADD COLUMN quote_id TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE event ADD COLUMN currency TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE event ADD COLUMN paid_units INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE event ADD COLUMN paid_nanos INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE event ADD COLUMN category TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE item ADD COLUMN group_id TEXT NOT NULL DEFAULT ''",
    ),
    6: ("ALTER TABLE event ADD COLUMN feedback TEXT NOT NULL DEFAULT ''",),
}
_CACHE_KIB = 32 * 1024
# 16 MB: a checkpoint writes each changed page once, however often it changed.
_CHECKPOINT_PAGES = 4_000


def open_database(data_dir: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    """(for writing, for reading). In WAL mode readers never wait for the writer.

    Raises InvalidArgument for a file of another layout.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    writing, reading = (
        sqlite3.connect(data_dir / PROFILES_FILE, timeout=10, check_same_thread=False, isolation_level=None)
        for _ in range(2)
    )
    # Before the first table: pages that a trim has emptied can be given back in small steps.
    writing.execute("PRAGMA auto_vacuum=INCREMENTAL")
    writing.execute("PRAGMA journal_mode=WAL")
    # A commit is on the disk when it returns. Calls share commits: see services/common/group_commit.py.
    writing.execute("PRAGMA synchronous=FULL")
    # What a deletion removes is overwritten, not just unlinked.
    writing.execute("PRAGMA secure_delete=ON")
    # An event touches some nine pages all over the file; with SQLite's 2 MB of cache most of them would be read again.
    writing.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    writing.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
    _create(writing, data_dir / PROFILES_FILE)
    reading.execute("PRAGMA query_only=ON")
    return writing, reading


def _create(db: sqlite3.Connection, file: Path) -> None:
    db.execute("BEGIN IMMEDIATE")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    is_new = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'event'").fetchone() is None
    if not is_new and not OLDEST <= version <= VERSION:
        db.execute("ROLLBACK")
        db.close()
        raise InvalidArgument.of(
            "data_dir",
            f"{file} has tables of version {version}, this Kairos reads versions {OLDEST} to {VERSION}. Move the file "
            "away, with its -wal and -shm files, and record the events again (`kairos events import`); or go on with "
            "the Kairos that wrote it",
        )
    if not is_new:
        for later in range(version + 1, VERSION + 1):
            for statement in _ADDED[later]:
                db.execute(statement)
    # One transaction: executescript would end the one that is open.
    for statement in (*filter(str.strip, _SCHEMA.split(";")), *_TRIGGERS):
        db.execute(statement)
    db.execute(f"PRAGMA user_version={VERSION}")
    db.execute("COMMIT")
