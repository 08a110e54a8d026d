"""Rankings and sessions in an SQLite file of their own, which nothing waits for: it is not synchronised to the disk."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from services.ranker.adapters.ranking_bytes import from_bytes, to_bytes
from services.ranker.adapters.session_text import events_from_text, events_to_text
from services.ranker.adapters.sqlite_persons import digest_of
from services.ranker.adapters.sqlite_retention import Eraser
from services.ranker.adapters.sqlite_schema import RANKINGS_FILE
from services.ranker.domain.session import SessionContext, SessionMove, moved
from services.ranker.domain.stored_ranking import StoredRanking
from services.ranker.ports import FORGOTTEN_S, RankingLimits

# A file of another version is emptied: what was in it would have expired.
_VERSION = 3
_SCHEMA = """
CREATE TABLE ranking (
    tenant TEXT, ranking_id TEXT, person TEXT, expires_s REAL, ranking BLOB, UNIQUE (tenant, ranking_id));
CREATE INDEX ranking_expires ON ranking (tenant, expires_s);
CREATE INDEX ranking_of_person ON ranking (tenant, person) WHERE person <> '';
CREATE TABLE session (
    tenant TEXT, session_id TEXT, person TEXT, expires_s REAL, model_version TEXT, vector BLOB,
    recent TEXT, UNIQUE (tenant, session_id));
CREATE INDEX session_expires ON session (tenant, expires_s);
CREATE INDEX session_of_person ON session (tenant, person) WHERE person <> '';
CREATE TABLE forgotten (
    tenant TEXT, person_digest BLOB, deleted_s REAL, until_s REAL, PRIMARY KEY (tenant, person_digest)) WITHOUT ROWID;
"""
_TABLES = ("ranking", "session", "forgotten")
# Rows that a process adds without counting: another one may add rows to the same file.
_UNCOUNTED = 64


class SqliteRankingStore:
    """Several replicas on one machine may share the file. `clock` gives seconds since the epoch."""

    def __init__(
        self, data_dir: Path, limits: RankingLimits, session_step: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._limits, self._step, self._clock = limits, session_step, clock
        data_dir.mkdir(parents=True, exist_ok=True)
        self._db, self._reading = (
            sqlite3.connect(data_dir / RANKINGS_FILE, timeout=10, check_same_thread=False, isolation_level=None)
            for _ in range(2)
        )
        self._lock, self._reading_lock = threading.Lock(), threading.Lock()
        self._db.execute("PRAGMA journal_mode=WAL")
        # No write waits for the disk. The death of the process loses nothing; that of the machine loses the file.
        self._db.execute("PRAGMA synchronous=OFF")
        # What a deletion removes is overwritten, not just unlinked.
        self._db.execute("PRAGMA secure_delete=ON")
        with self._transaction():
            self._create()
        self._reading.execute("PRAGMA query_only=ON")
        # By table and tenant: the rows that may be added before they are counted again.
        self._room: dict[tuple[str, str], int] = {}
        # Whether the rows of deleted persons are gone from the log of changes too.
        self._eraser, self._is_erased = Eraser(data_dir / RANKINGS_FILE), True

    def store(self, rankings: Sequence[tuple[str, StoredRanking]]) -> None:
        expires_s = self._clock() + self._limits.ranking_ttl_s
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO ranking VALUES (?, ?, ?, ?, ?)",
                [
                    (tenant, ranking.ranking_id, ranking.person, expires_s, to_bytes(ranking))
                    for tenant, ranking in rankings
                    if not self._is_forgotten(tenant, ranking.person, ranking.ranked_s)
                ],
            )
            self._keep_newest("ranking", [tenant for tenant, _ in rankings], self._limits.rankings)

    def ranking(self, tenant: str, ranking_id: str) -> StoredRanking | None:
        with self._reading_lock:
            found = self._reading.execute(
                "SELECT ranking FROM ranking WHERE tenant = ? AND ranking_id = ? AND expires_s > ?",
                (tenant, ranking_id, self._clock()),
            ).fetchone()
        return None if found is None else from_bytes(found[0])

    def move_sessions(self, moves: Sequence[SessionMove]) -> None:
        with self._transaction():
            for move in moves:
                if not self._is_forgotten(move.tenant, move.person, move.moved_s):
                    self._move(move)
            self._keep_newest("session", [move.tenant for move in moves], self._limits.sessions)

    def session(self, tenant: str, session_id: str) -> SessionContext | None:
        with self._reading_lock:
            return self._session(self._reading, tenant, session_id)

    def delete_persons(self, tenant: str, persons: Sequence[str]) -> int:
        now_s, deleted = self._clock(), 0
        with self._transaction():
            for person in persons:
                deleted += self._db.execute(
                    "DELETE FROM ranking WHERE tenant = ? AND person = ?", (tenant, person)
                ).rowcount
                self._db.execute("DELETE FROM session WHERE tenant = ? AND person = ?", (tenant, person))
                self._db.execute(
                    "INSERT OR REPLACE INTO forgotten VALUES (?, ?, ?, ?)",
                    (tenant, digest_of(person), now_s, now_s + FORGOTTEN_S),
                )
        self._is_erased = self._eraser.erase()
        return deleted

    def remove_expired(self) -> None:
        if not self._is_erased:
            self._is_erased = self._eraser.erase()
        now_s = self._clock()
        with self._transaction():
            for table in ("ranking", "session"):
                for (tenant,) in self._db.execute(f"SELECT DISTINCT tenant FROM {table}").fetchall():
                    self._db.execute(f"DELETE FROM {table} WHERE tenant = ? AND expires_s <= ?", (tenant, now_s))
            self._db.execute("DELETE FROM forgotten WHERE until_s <= ?", (now_s,))

    def close(self) -> None:
        self._eraser.close()
        with self._lock, self._reading_lock:
            self._db.close()
            self._reading.close()

    def _create(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == _VERSION:
            return
        # One transaction: executescript would end the one that is open.
        for table in _TABLES:
            self._db.execute(f"DROP TABLE IF EXISTS {table}")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            self._db.execute(statement)
        self._db.execute(f"PRAGMA user_version={_VERSION}")

    def _is_forgotten(self, tenant: str, person: str, moment_s: float) -> bool:
        """Whether the person was deleted after the moment."""
        if not person:
            return False
        query = "SELECT 1 FROM forgotten WHERE tenant = ? AND person_digest = ? AND deleted_s >= ? AND until_s > ?"
        values = (tenant, digest_of(person), moment_s, self._clock())
        return self._db.execute(query, values).fetchone() is not None

    def _keep_newest(self, table: str, tenants: Sequence[str], most: int) -> None:
        """`tenants`: one for each row that was added. Rows are counted only when there may be too many."""
        for tenant, added in Counter(tenants).items():
            room = self._room.get((table, tenant), 0) - added
            if room < 0:
                (count,) = self._db.execute(f"SELECT COUNT(*) FROM {table} WHERE tenant = ?", (tenant,)).fetchone()
                if count > most:
                    # A few more than necessary, so that the next writes need not count.
                    gone = count - most + most // 100
                    oldest = f"SELECT rowid FROM {table} WHERE tenant = ? ORDER BY expires_s, rowid LIMIT ?"
                    self._db.execute(f"DELETE FROM {table} WHERE rowid IN ({oldest})", (tenant, gone))
                    count -= gone
                room = min(most - count, _UNCOUNTED)
            self._room[table, tenant] = room

    def _move(self, move: SessionMove) -> None:
        known = self._session(self._db, move.tenant, move.session_id)
        context = moved(known, move, self._step)
        if context is None:
            return
        whose = (move.tenant, move.session_id)
        found = self._db.execute("SELECT person FROM session WHERE tenant = ? AND session_id = ?", whose).fetchone()
        self._db.execute(
            "INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?, ?, ?, ?)",
            (*whose, move.person or (found[0] if found else ""), self._clock() + self._limits.session_ttl_s,
             context.model_version, context.vector.astype("<f4").tobytes(), events_to_text(context.recent)),
        )  # fmt: skip

    def _session(self, db: sqlite3.Connection, tenant: str, session_id: str) -> SessionContext | None:
        found = db.execute(
            "SELECT model_version, vector, recent FROM session WHERE tenant = ? AND session_id = ? AND expires_s > ?",
            (tenant, session_id, self._clock()),
        ).fetchone()
        if found is None:
            return None
        return SessionContext(found[0], np.frombuffer(found[1], "<f4"), events_from_text(found[2]))

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
