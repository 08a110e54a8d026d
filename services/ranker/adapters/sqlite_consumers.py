"""The SQLite file as consumers of its logs see it: their positions, and the counts that they share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.common.sqlite_errors import sqlite_transaction
from services.ranker.adapters.sqlite_schema import open_database

# Values in one statement.
MOST_MARKS = 500


class SqliteConsumers:
    """One connection writes and another reads, each by one thread at a time. `clock`: seconds since the epoch."""

    def __init__(self, data_dir: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._db, self._reading = open_database(data_dir)
        self._lock, self._reading_lock = threading.Lock(), threading.Lock()

    def committed(self, tenant: str, group: str) -> dict[str, int]:
        return dict(
            self._read("SELECT log, position FROM consumer WHERE tenant = ? AND consumer_group = ?", (tenant, group))
        )

    def commit(self, tenant: str, group: str, positions: Mapping[str, int]) -> None:
        with self._transaction():
            self._db.executemany(
                "INSERT OR REPLACE INTO consumer VALUES (?, ?, ?, ?)",
                [(tenant, group, log, position) for log, position in positions.items()],
            )

    def add_counts(self, tenant: str, name: str, counts: Mapping[str, float]) -> None:
        with self._transaction():
            self._db.executemany(
                "INSERT INTO count VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
                [(tenant, name, field, value) for field, value in counts.items()],
            )

    def counts(self, tenant: str, name: str) -> dict[str, float]:
        return dict(self._read("SELECT field, value FROM count WHERE tenant = ? AND name = ?", (tenant, name)))

    def token_key(self, proposed: str) -> str:
        query = "SELECT value FROM setting WHERE name = 'token_key'"
        # Read first: a full disk refuses to write, and each write waits for the disk.
        if not (found := self._read(query, ())):
            with self._transaction():
                self._db.execute("INSERT OR IGNORE INTO setting VALUES ('token_key', ?)", (proposed,))
                found = self._db.execute(query).fetchall()
        return str(found[0][0])

    def close(self) -> None:
        with self._lock, self._reading_lock:
            self._db.close()
            self._reading.close()

    def _read(self, query: str, values: tuple[object, ...]) -> list[Any]:
        with self._reading_lock:
            return self._reading.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, sqlite_transaction(self._db, "the ranker's store"):
            yield


def marks(values: Any) -> str:
    return ",".join("?" * len(values))
