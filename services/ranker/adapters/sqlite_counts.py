"""Counts over all persons in an SQLite file of their own: writing them keeps no event waiting."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from services.common.sqlite_errors import sqlite_errors
from services.ranker.adapters.sqlite_consumers import MOST_MARKS, marks
from services.ranker.adapters.sqlite_retention import Eraser
from services.ranker.ports import CountKind, Documents, LogBound, Progress

COUNTS_FILE = "counts.db"
# A file of another version is emptied: the counts are made again from the log of events.
_VERSION = 2
_SCHEMA = """
CREATE TABLE document (
    tenant TEXT, kind TEXT, key TEXT, text TEXT, changed_s REAL, PRIMARY KEY (tenant, kind, key)) WITHOUT ROWID;
CREATE INDEX document_by_time ON document (tenant, kind, changed_s);
CREATE TABLE progress (tenant TEXT PRIMARY KEY, revision INTEGER, position INTEGER) WITHOUT ROWID
"""
_WHOSE = "the ranker's counts"


class SqliteCountStore:
    """Several replicas on one machine may share the file."""

    # Nobody but the counters waits for a write.
    most_events = 3_200

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = data_dir / COUNTS_FILE
        self._db, self._reading = (
            sqlite3.connect(file, timeout=10, check_same_thread=False, isolation_level=None) for _ in range(2)
        )
        self._lock, self._reading_lock = threading.Lock(), threading.Lock()
        self._db.execute("PRAGMA journal_mode=WAL")
        # A commit that the machine loses is made again from the log of events.
        self._db.execute("PRAGMA synchronous=NORMAL")
        # What a deletion removes is overwritten, not just unlinked.
        self._db.execute("PRAGMA secure_delete=ON")
        self._create()
        self._reading.execute("PRAGMA query_only=ON")
        self._eraser = Eraser(file)

    def progress(self, tenant: str) -> Progress:
        with sqlite_errors(_WHOSE), self._reading_lock:
            return _progress(self._reading, tenant)

    def read(self, tenant: str, kind: CountKind, keys: Sequence[str]) -> dict[str, str]:
        found: dict[str, str] = {}
        with sqlite_errors(_WHOSE), self._reading_lock:
            for some in (keys[at : at + MOST_MARKS] for at in range(0, len(keys), MOST_MARKS)):
                query = f"SELECT key, text FROM document WHERE tenant = ? AND kind = ? AND key IN ({marks(some)})"
                found |= self._reading.execute(query, (tenant, kind.value, *some)).fetchall()
        return found

    def newest(self, tenant: str, kind: CountKind, since_s: float, limit: int) -> dict[str, str]:
        query = (
            "SELECT key, text FROM document WHERE tenant = ? AND kind = ? AND changed_s >= ? "
            "ORDER BY changed_s DESC, key LIMIT ?"
        )
        with sqlite_errors(_WHOSE), self._reading_lock:
            return dict(self._reading.execute(query, (tenant, kind.value, since_s, limit)).fetchall())

    def write(self, tenant: str, known: Progress, position: int, documents: Documents) -> bool:
        removed = [(tenant, kind.value, key) for (kind, key), document in documents.items() if document is None]
        with sqlite_errors(_WHOSE), self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                if _progress(self._db, tenant) != known:
                    self._db.execute("ROLLBACK")
                    return False
                self._db.executemany("DELETE FROM document WHERE tenant = ? AND kind = ? AND key = ?", removed)
                self._db.executemany(
                    "INSERT OR REPLACE INTO document VALUES (?, ?, ?, ?, ?)",
                    [(tenant, kind.value, key, *document) for (kind, key), document in documents.items() if document],
                )
                self._db.execute(
                    "INSERT OR REPLACE INTO progress VALUES (?, ?, ?)", (tenant, known.revision + 1, position)
                )
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite itself ends the transaction if the disk is full.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        if removed:
            self._eraser.erase()
        return True

    def trim(self, tenant: str, kind: CountKind, bound: LogBound, now_s: float) -> int:
        of = (tenant, kind.value)
        with sqlite_errors(_WHOSE), self._lock:
            query = "SELECT COUNT(*) FROM document WHERE tenant = ? AND kind = ?"
            (count,) = self._db.execute(query, of).fetchone()
            removed = self._db.execute(
                "DELETE FROM document WHERE tenant = ? AND kind = ? AND changed_s <= ?", (*of, now_s - bound.age_s)
            ).rowcount
            if (over := count - removed - bound.count) > 0:
                removed += self._db.execute(
                    "DELETE FROM document WHERE tenant = ?1 AND kind = ?2 AND key IN (SELECT key FROM document "
                    "WHERE tenant = ?1 AND kind = ?2 ORDER BY changed_s, key LIMIT ?3)",
                    (*of, over),
                ).rowcount
        self._eraser.erase()
        return removed

    def close(self) -> None:
        self._eraser.close()
        with self._lock, self._reading_lock:
            self._db.close()
            self._reading.close()

    def _create(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        if self._db.execute("PRAGMA user_version").fetchone()[0] != _VERSION:
            for table in ("document", "progress"):
                self._db.execute(f"DROP TABLE IF EXISTS {table}")
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version={_VERSION}")
        self._db.execute("COMMIT")


def _progress(db: sqlite3.Connection, tenant: str) -> Progress:
    row = db.execute("SELECT revision, position FROM progress WHERE tenant = ?", (tenant,)).fetchone()
    return Progress(*row) if row else Progress(0, 0)
