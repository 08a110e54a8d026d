"""The outbox as a SQLite file, for a disk that stays when the process or its pod ends."""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from services.common.outbox.outbox import EntryBatch, OutboxBounds, OutboxSize, StoredBatch, full, within
from services.common.sqlite_errors import sqlite_errors, sqlite_transaction

FILE = "outbox.db"
# Batches that are read at a time, and removed by one statement.
_ROWS = 200
# Pages of 4 KiB that are free before the file is made smaller.
_FREE_PAGES = 4_096
_SCHEMA = """
CREATE TABLE IF NOT EXISTS batch (
    id INTEGER PRIMARY KEY AUTOINCREMENT, appended_s REAL NOT NULL, tenant TEXT NOT NULL, entries INTEGER NOT NULL,
    content BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS held (one INTEGER PRIMARY KEY CHECK (one = 1), entries INTEGER, bytes INTEGER);
INSERT OR IGNORE INTO held VALUES (1, 0, 0);
"""


class SqliteOutbox:
    """See outbox.Outbox. Processes of one machine may share the file in `folder`. `clock`: seconds since the epoch."""

    def __init__(self, folder: Path, bounds: OutboxBounds, clock: Callable[[], float] = time.time) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.bounds, self._clock = bounds, clock
        self._lease_file = folder / "outbox.lock"
        self._lock = threading.Lock()
        self._db = sqlite3.connect(folder / FILE, timeout=10, check_same_thread=False, isolation_level=None)
        # Before the first table: the pages of removed entries can be given back.
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        with self._transaction():
            for statement in _SCHEMA.strip().split(";\n"):
                self._db.execute(statement)

    def append(self, batches: Sequence[EntryBatch]) -> None:
        entries, size = sum(batch.count for batch in batches), sum(len(batch.content) for batch in batches)
        now_s = self._clock()
        with self._transaction():
            held = self._db.execute("SELECT entries, bytes FROM held").fetchone()
            if held[0] + entries > self.bounds.entries or held[1] + size > self.bounds.bytes:
                raise full(self.bounds)
            self._db.executemany(
                "INSERT INTO batch (appended_s, tenant, entries, content) VALUES (?, ?, ?, ?)",
                [(now_s, batch.tenant, batch.count, batch.content) for batch in batches],
            )
            self._db.execute("UPDATE held SET entries = entries + ?, bytes = bytes + ?", (entries, size))

    def oldest(self, most_entries: int, most_bytes: int, after: str = "") -> list[StoredBatch]:
        query = "SELECT id, tenant, entries, content FROM batch WHERE id > ? ORDER BY id LIMIT ?"
        with sqlite_errors("the outbox"), self._lock:
            rows = self._db.execute(query, (int(after or 0), _ROWS)).fetchall()
        found = [StoredBatch(str(id), EntryBatch(tenant, count, content)) for id, tenant, count, content in rows]
        return within(found, most_entries, most_bytes)

    def remove(self, batches: Sequence[StoredBatch]) -> None:
        ids = [int(stored.place) for stored in batches]
        with self._transaction():
            for first in range(0, len(ids), _ROWS):
                some = ids[first : first + _ROWS]
                removed = self._db.execute(
                    f"DELETE FROM batch WHERE id IN ({', '.join('?' * len(some))}) RETURNING entries, length(content)",
                    some,
                ).fetchall()
                gone = sum(row[0] for row in removed), sum(row[1] for row in removed)
                self._db.execute("UPDATE held SET entries = entries - ?, bytes = bytes - ?", gone)
        with sqlite_errors("the outbox"), self._lock:
            if self._db.execute("PRAGMA freelist_count").fetchone()[0] > _FREE_PAGES:
                # Not with `execute`, which takes one step of a statement without columns: a single page.
                self._db.executescript(f"PRAGMA incremental_vacuum({_FREE_PAGES // 2})")

    def size(self) -> OutboxSize:
        with sqlite_errors("the outbox"), self._lock:
            entries, size = self._db.execute("SELECT entries, bytes FROM held").fetchone()
            oldest = self._db.execute("SELECT appended_s FROM batch ORDER BY id LIMIT 1").fetchone()
        return OutboxSize(entries, size, max(0.0, self._clock() - oldest[0]) if oldest else 0.0)

    @contextmanager
    def lease(self) -> Iterator[bool]:
        with self._lease_file.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, sqlite_transaction(self._db, "the outbox"):
            yield
