"""Conversations in an SQLite file of their own. Several replicas on one machine may share it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from services.common.sqlite_errors import sqlite_errors, sqlite_transaction
from services.ranker.adapters.conversation_bytes import from_bytes, to_bytes
from services.ranker.adapters.sqlite_consumers import marks
from services.ranker.adapters.sqlite_persons import digest_of
from services.ranker.adapters.sqlite_retention import STEP, Eraser
from services.ranker.domain.conversation import Conversation, Turn, appended, unknown
from services.ranker.ports import FORGOTTEN_S, MOST_OF_PERSON, ConversationLimits

CONVERSATIONS_FILE = "conversations.db"
_WHOSE = "the ranker's conversations"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversation (
    position INTEGER PRIMARY KEY AUTOINCREMENT, tenant TEXT, id TEXT, person TEXT, expires_s REAL, data BLOB);
CREATE UNIQUE INDEX IF NOT EXISTS conversation_by_id ON conversation (tenant, id);
CREATE INDEX IF NOT EXISTS conversation_by_person ON conversation (tenant, person);
CREATE INDEX IF NOT EXISTS conversation_by_time ON conversation (tenant, expires_s);
CREATE TABLE IF NOT EXISTS forgotten (
    tenant TEXT, person_digest BLOB, deleted_s REAL, until_s REAL, PRIMARY KEY (tenant, person_digest)) WITHOUT ROWID
"""


class SqliteConversationStore:
    """`clock` gives seconds since the epoch."""

    def __init__(self, data_dir: Path, limits: ConversationLimits, clock: Callable[[], float] = time.time) -> None:
        self._limits, self._clock = limits, clock
        data_dir.mkdir(parents=True, exist_ok=True)
        file = data_dir / CONVERSATIONS_FILE
        self._db, self._reading = (
            sqlite3.connect(file, timeout=10, check_same_thread=False, isolation_level=None) for _ in range(2)
        )
        self._lock, self._reading_lock = threading.Lock(), threading.Lock()
        # Before the first table: pages that a trim has emptied can be given back.
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._db.execute("PRAGMA journal_mode=WAL")
        # A commit is on the disk when it returns.
        self._db.execute("PRAGMA synchronous=FULL")
        # What a deletion removes is overwritten, not just unlinked.
        self._db.execute("PRAGMA secure_delete=ON")
        with sqlite_transaction(self._db, _WHOSE):
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
        self._reading.execute("PRAGMA query_only=ON")
        self._eraser = Eraser(file)

    def conversation(self, tenant: str, id: str, persons: Sequence[str]) -> Conversation | None:
        with sqlite_errors(_WHOSE), self._reading_lock:
            found = self._row(self._reading, tenant, id)
        return found[1] if found is not None and found[0] in persons else None

    def append(
        self, tenant: str, id: str, persons: Sequence[str], turn: Turn, state: bytes, turn_count: int
    ) -> Conversation:
        now_s = self._clock()
        with self._lock, sqlite_transaction(self._db, _WHOSE):
            found = self._row(self._db, tenant, id)
            if found is not None and found[0] not in persons:
                raise unknown(id)
            known = found[1] if found is not None else None
            if known is None and self._is_forgotten(tenant, persons[0], turn.time_s):
                raise unknown(id)
            changed = appended(known, id, turn, state, turn_count)
            if changed is known:
                return changed
            data, expires_s = to_bytes(changed, self._limits.bytes), now_s + self._limits.ttl_s
            if known is not None:
                self._db.execute(
                    "UPDATE conversation SET data = ?, expires_s = ? WHERE tenant = ? AND id = ?",
                    (data, expires_s, tenant, id),
                )
                return changed
            # In place of one that has expired, if there is one.
            self._db.execute(
                "INSERT OR REPLACE INTO conversation VALUES (NULL, ?, ?, ?, ?, ?)",
                (tenant, id, persons[0], expires_s, data),
            )
            self._db.execute(
                "DELETE FROM conversation WHERE position IN (SELECT position FROM conversation WHERE tenant = ? "
                f"AND person = ? ORDER BY position DESC LIMIT -1 OFFSET {MOST_OF_PERSON})",
                (tenant, persons[0]),
            )
        return changed

    def of_persons(self, tenant: str, persons: Sequence[str]) -> list[tuple[int, Conversation]]:
        query = (
            f"SELECT position, id, data FROM conversation WHERE tenant = ? AND person IN ({marks(persons)}) "
            "AND expires_s > ? ORDER BY position"
        )
        with sqlite_errors(_WHOSE), self._reading_lock:
            rows = self._reading.execute(query, (tenant, *persons, self._clock())).fetchall()
        return [(position, from_bytes(id, data)) for position, id, data in rows]

    def delete_persons(self, tenant: str, persons: Sequence[str]) -> int:
        now_s = self._clock()
        with self._lock, sqlite_transaction(self._db, _WHOSE):
            deleted = self._db.execute(
                f"DELETE FROM conversation WHERE tenant = ? AND person IN ({marks(persons)})", (tenant, *persons)
            ).rowcount
            self._db.executemany(
                "INSERT OR REPLACE INTO forgotten VALUES (?, ?, ?, ?)",
                [(tenant, digest_of(person), now_s, now_s + FORGOTTEN_S) for person in persons],
            )
        # Usually at once. If a reader is in the way, the next turn of the keeper tries again.
        self._eraser.erase()
        return deleted

    def trim(self) -> Iterator[int]:
        now_s = self._clock()
        tenant = ""
        while tenant := self._next_tenant(tenant):
            yield from self._trim(tenant, now_s)
        with self._lock, sqlite_transaction(self._db, _WHOSE):
            self._db.execute("DELETE FROM forgotten WHERE until_s <= ?", (now_s,))
        with self._lock:
            self._db.executescript(f"PRAGMA incremental_vacuum({STEP})")
        self._eraser.erase()

    def close(self) -> None:
        self._eraser.close()
        with self._lock, self._reading_lock:
            self._db.close()
            self._reading.close()

    def _next_tenant(self, tenant: str) -> str:
        """By one search in an index; empty after the last one."""
        with sqlite_errors(_WHOSE), self._reading_lock:
            query = "SELECT MIN(tenant) FROM conversation WHERE tenant > ?"
            return self._reading.execute(query, (tenant,)).fetchone()[0] or ""

    def _trim(self, tenant: str, now_s: float) -> Iterator[int]:
        with sqlite_errors(_WHOSE), self._reading_lock:
            query = "SELECT COUNT(*) FROM conversation WHERE tenant = ?"
            (count,) = self._reading.execute(query, (tenant,)).fetchone()
        over, removed = count - self._limits.count, STEP
        while removed == STEP:
            with self._lock, sqlite_transaction(self._db, _WHOSE):
                oldest = self._db.execute(
                    "SELECT position, expires_s FROM conversation WHERE tenant = ? ORDER BY expires_s LIMIT ?",
                    (tenant, STEP),
                ).fetchall()
                gone = [(at,) for place, (at, expires_s) in enumerate(oldest) if place < over or expires_s <= now_s]
                self._db.executemany("DELETE FROM conversation WHERE position = ?", gone)
            removed, over = len(gone), over - len(gone)
            yield removed

    def _row(self, db: sqlite3.Connection, tenant: str, id: str) -> tuple[str, Conversation] | None:
        """(person, conversation)."""
        query = "SELECT person, data FROM conversation WHERE tenant = ? AND id = ? AND expires_s > ?"
        found = db.execute(query, (tenant, id, self._clock())).fetchone()
        return None if found is None else (found[0], from_bytes(id, found[1]))

    def _is_forgotten(self, tenant: str, person: str, moment_s: float) -> bool:
        query = "SELECT 1 FROM forgotten WHERE tenant = ? AND person_digest = ? AND deleted_s >= ? AND until_s > ?"
        values = (tenant, digest_of(person), moment_s, self._clock())
        return self._db.execute(query, values).fetchone() is not None
