"""The publisher's state in one SQLite file, which one process uses."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter

from services.common.sqlite_errors import sqlite_errors
from services.pricing.domain.publication import OfferedProduct
from services.pricing.publisher.ports import Schedule

_SCHEMA = """
CREATE TABLE IF NOT EXISTS place (rules TEXT, page_token TEXT);
CREATE TABLE IF NOT EXISTS upcoming (product_id TEXT PRIMARY KEY, due_s REAL, product BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS upcoming_by_time ON upcoming (due_s);
"""
_PRODUCT = TypeAdapter(OfferedProduct)
# Part of what the state belongs to: a state of another layout is built again from the catalogue.
_LAYOUT = 1


class SqlitePublisherState:
    """See ports.PublisherState.

    `rules`: names what the prices depend on besides the catalogue. With other rules than before, everything is computed
    again. Raises ValueError if another process uses `folder`.
    """

    def __init__(self, folder: Path, rules: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._rules = f"{_LAYOUT} {rules}"
        self._db = sqlite3.connect(folder / "publisher.db", timeout=0, isolation_level=None)
        try:
            # The lock is held until the file is closed.
            self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._db.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            self._db.close()
            raise ValueError(
                f"another price publisher uses {folder}; stop it, or give this one a data_dir of its own"
            ) from None
        self._db.execute("COMMIT")
        with sqlite_errors("the publisher's state"):
            self._db.executescript(_SCHEMA)
        if self._db.execute("SELECT rules FROM place").fetchone() != (self._rules,):
            self.restart()

    def page_token(self) -> str:
        token: str = self._db.execute("SELECT page_token FROM place").fetchone()[0]
        return token

    def restart(self) -> None:
        with self._transaction():
            self._db.execute("DELETE FROM upcoming")
            self._db.execute("DELETE FROM place")
            self._db.execute("INSERT INTO place VALUES (?, '')", (self._rules,))

    def save(self, schedule: Schedule, page_token: str | None = None, *, is_restarted: bool = False) -> None:
        timed = [(product, due_s) for product, due_s in schedule.upcoming if due_s < math.inf]
        touched_ids = [*(product.product_id for product, _ in schedule.upcoming), *schedule.gone_ids]
        with self._transaction():
            if is_restarted:
                self._db.execute("DELETE FROM upcoming")
            self._db.executemany("DELETE FROM upcoming WHERE product_id = ?", [(id,) for id in touched_ids])
            self._db.executemany(
                "INSERT INTO upcoming VALUES (?, ?, ?)",
                [(product.product_id, due_s, _PRODUCT.dump_json(product)) for product, due_s in timed],
            )
            if page_token is not None:
                self._db.execute("UPDATE place SET page_token = ?", (page_token,))

    def due(self, now_s: float, limit: int) -> list[OfferedProduct]:
        query = "SELECT product FROM upcoming WHERE due_s <= ? ORDER BY due_s LIMIT ?"
        return [_PRODUCT.validate_json(data) for (data,) in self._db.execute(query, (now_s, limit))]

    def upcoming_count(self) -> int:
        (count,) = self._db.execute("SELECT COUNT(*) FROM upcoming").fetchone()
        return int(count)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with sqlite_errors("the publisher's state"):
            self._db.execute("BEGIN")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite itself ends the transaction if the disk is full.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
