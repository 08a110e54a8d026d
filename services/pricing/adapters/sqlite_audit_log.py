"""The audit log in one SQLite file, as partitions: tables of which one is open. Triggers refuse changes and removals.

A partition is closed after a number of quotes, or after a day, and then refuses new quotes too. The oldest closed ones
go to the archive; when all of a partition is there, it is emptied in small steps, and its table is dropped. The view
`quote` is over all partitions that are online.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common.money import Money
from services.common.sqlite_errors import sqlite_errors
from services.pricing.adapters.parquet_archive import ParquetArchive
from services.pricing.ports import AuditSize, Quote

COLUMNS = (
    "tenant", "quote_id", "item_id", "currency", "list_price", "cost", "merchandiser_floor", "merchandiser_ceiling",
    "stock", "created_s", "price_floor", "price_ceiling", "offer", "reason", "explanation", "model_version",
    "request_id", "quoted_s", "valid_until_s", "price_list_id", "place_id",
)  # fmt: skip
# Columns that tables of an earlier layout lack. Their quotes have NULL there.
_ADDED = ("price_list_id", "place_id")
_DAY_S = 86_400.0
# Rows that are removed in one step: others wait some 10 ms for it, and have four fifths of the time.
_STEP, _PAUSE_FACTOR = 2_000, 4
_ONLINE = "SELECT number FROM partition WHERE archived_s IS NULL ORDER BY number"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS partition (
    number INTEGER PRIMARY KEY AUTOINCREMENT, opened_s REAL, closed_s REAL, archived_s REAL,
    quotes INTEGER);
"""
_PARTITION = f"""
CREATE TABLE quote_{{number}} ({", ".join(f"{name} TEXT" for name in COLUMNS)}, PRIMARY KEY (tenant, quote_id));
CREATE INDEX quote_{{number}}_of_item ON quote_{{number}} (tenant, item_id);
CREATE TRIGGER quote_{{number}}_is_final BEFORE UPDATE ON quote_{{number}}
    BEGIN SELECT RAISE(ABORT, 'a quote in the audit log is never changed'); END;
CREATE TRIGGER quote_{{number}}_stays BEFORE DELETE ON quote_{{number}}
    BEGIN SELECT RAISE(ABORT, 'a quote in the audit log is never removed'); END;
"""
_CLOSED = """
CREATE TRIGGER quote_{number}_is_closed BEFORE INSERT ON quote_{number}
    BEGIN SELECT RAISE(ABORT, 'this partition of the audit log is closed'); END;
"""


@dataclass(frozen=True)
class AuditBounds:
    """What stays online: the quotes of the last `online_s` seconds, and of these the newest `online_quotes`."""

    online_s: float = 7 * _DAY_S
    online_quotes: int = 5_000_000
    partition_quotes: int = 200_000


class SqliteAuditLog:
    """See ports.AuditLog. A committed quote is on the disk. Several replicas on one machine may share the file.

    `clock` gives seconds since the epoch.
    """

    def __init__(
        self, data_dir: Path, archive: ParquetArchive | None = None, bounds: AuditBounds | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        data_dir.mkdir(parents=True, exist_ok=True)
        self._folder, self._file = data_dir, data_dir / "audit.db"
        self._archive, self._bounds, self._clock = archive, bounds or AuditBounds(), clock
        self._lock = threading.Lock()
        self._archived = 0
        self._db = sqlite3.connect(self._file, timeout=10, check_same_thread=False, isolation_level=None)
        # Before the first table: the pages of dropped partitions can be given back.
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        with self._transaction():
            self._db.execute(_SCHEMA)
            self._adopt_earlier_table()
            self._add_missing_columns()
            if self._open() is None:
                self._begin_partition()

    def append(self, batches: Sequence[tuple[str, Sequence[Quote]]]) -> list[None]:
        rows = [(tenant, *_row(quote)) for tenant, quotes in batches for quote in quotes]
        with self._transaction():
            number = self._partition_for(len(rows))
            marks = ", ".join("?" * len(COLUMNS))
            self._db.executemany(f"INSERT INTO quote_{number} VALUES ({marks})", rows)
            self._db.execute("UPDATE partition SET quotes = quotes + ? WHERE number = ?", (len(rows), number))
        return [None] * len(batches)

    def quotes_of(self, tenant: str, item_id: str, limit: int = 100) -> list[dict[str, str]]:
        found: list[tuple[str, ...]] = []
        names = COLUMNS[1:]
        with self._lock:
            for (number,) in self._db.execute(f"{_ONLINE} DESC").fetchall():
                if len(found) < limit:
                    query = f"SELECT {', '.join(names)} FROM quote_{number} WHERE tenant = ? AND item_id = ? "
                    query += "ORDER BY rowid DESC LIMIT ?"
                    found += self._db.execute(query, (tenant, item_id, limit - len(found))).fetchall()
        return [dict(zip(names, row, strict=True)) for row in found]

    def archive(self, now_s: float) -> int:
        if self._archive is None:
            return 0
        moved = 0
        with self._alone() as is_alone:
            for number, opened_s, quotes in self._due(now_s) if is_alone else ():
                self._archive.write(f"{number:06}", opened_s, COLUMNS, self._rows_of(number), quotes)
                with self._transaction():
                    self._db.execute("UPDATE partition SET archived_s = ? WHERE number = ?", (now_s, number))
                    self._make_view()
                moved += quotes
                self._archived += quotes
            # Also what a process that was killed has left.
            archived = "SELECT number FROM partition WHERE archived_s IS NOT NULL"
            for (number,) in self._read(archived) if is_alone else ():
                self._drop(number)
            self._archive.keep_within_bound()
        return moved

    def size(self) -> AuditSize:
        ((quotes,),) = self._read("SELECT COALESCE(SUM(quotes), 0) FROM partition WHERE archived_s IS NULL")
        in_use = sum(path.stat().st_size for path in self._folder.glob("audit.db*"))
        return AuditSize(quotes, in_use, self._archive.local_bytes() if self._archive else 0, self._archived)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _open(self) -> tuple[int, float, int] | None:
        """(number, when it was opened, quotes) of the open partition."""
        query = "SELECT number, opened_s, quotes FROM partition WHERE closed_s IS NULL"
        found: tuple[int, float, int] | None = self._db.execute(query).fetchone()
        return found

    def _partition_for(self, rows: int) -> int:
        """The open partition; a new one if that is full or a day old."""
        found = self._open()
        if found is not None:
            number, opened_s, quotes = found
            is_old, is_full = self._clock() >= opened_s + _DAY_S, quotes + rows > self._bounds.partition_quotes
            if not quotes and is_old:
                self._db.execute("UPDATE partition SET opened_s = ? WHERE number = ?", (self._clock(), number))
            if not quotes or not (is_old or is_full):
                return number
            self._close_partition(number)
        return self._begin_partition()

    def _begin_partition(self) -> int:
        now_s = self._clock()
        number = self._db.execute("INSERT INTO partition VALUES (NULL, ?, NULL, NULL, 0)", (now_s,)).lastrowid or 0
        # One transaction: executescript would end the one that is open.
        for statement in _statements(_PARTITION.format(number=number)):
            self._db.execute(statement)
        self._make_view()
        return number

    def _close_partition(self, number: int) -> None:
        self._db.execute("UPDATE partition SET closed_s = ? WHERE number = ?", (self._clock(), number))
        self._db.execute(_CLOSED.format(number=number))

    def _adopt_earlier_table(self) -> None:
        """The one table of an earlier layout becomes a closed partition."""
        if self._db.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'quote'").fetchone() is None:
            return
        (quotes,) = self._db.execute("SELECT COUNT(*) FROM quote").fetchone()
        opened_s = self._db.execute("SELECT MIN(CAST(quoted_s AS REAL)) FROM quote").fetchone()[0] or self._clock()
        adopt = "INSERT INTO partition VALUES (NULL, ?, NULL, NULL, ?)"
        number = self._db.execute(adopt, (opened_s, quotes)).lastrowid or 0
        self._db.execute(f"ALTER TABLE quote RENAME TO quote_{number}")
        self._close_partition(number)
        self._make_view()

    def _add_missing_columns(self) -> None:
        """A partition of an earlier layout gets the columns that it lacks; its quotes stay as they are."""
        for (number,) in self._db.execute("SELECT number FROM partition").fetchall():
            present = {name for (name,) in self._db.execute(f"SELECT name FROM pragma_table_info('quote_{number}')")}
            if missing := [name for name in _ADDED if name not in present]:
                # SQLite changes no table below a view that lacks a table.
                self._db.execute("DROP VIEW IF EXISTS quote")
                for name in missing:
                    self._db.execute(f"ALTER TABLE quote_{number} ADD COLUMN {name} TEXT")
        self._make_view()

    def _make_view(self) -> None:
        self._db.execute("DROP VIEW IF EXISTS quote")
        numbers = [number for (number,) in self._db.execute(_ONLINE)]
        # A view over more tables than this is more than SQLite takes.
        if numbers:
            parts = " UNION ALL ".join(f"SELECT {', '.join(COLUMNS)} FROM quote_{number}" for number in numbers[-400:])
            self._db.execute(f"CREATE VIEW quote AS {parts}")

    def _due(self, now_s: float) -> list[tuple[int, float, int]]:
        """Closed partitions beyond the bounds, oldest first. An open one that is a day old is closed here."""
        with self._transaction():
            self._partition_for(0)
            query = "SELECT number, opened_s, closed_s, quotes FROM partition WHERE archived_s IS NULL ORDER BY number"
            partitions = self._db.execute(query).fetchall()
        online, due = sum(quotes for *_, quotes in partitions), []
        for number, opened_s, closed_s, quotes in partitions:
            is_beyond = online > self._bounds.online_quotes
            if closed_s is None or not (is_beyond or closed_s <= now_s - self._bounds.online_s):
                break
            due.append((number, opened_s, quotes))
            online -= quotes
        return due

    def _drop(self, number: int) -> None:
        """Of a partition that is in the archive."""
        removed = _STEP
        with self._transaction():
            self._db.execute(f"DROP TRIGGER IF EXISTS quote_{number}_stays")
        while removed == _STEP:
            began = time.monotonic()
            with self._transaction():
                oldest = f"SELECT rowid FROM quote_{number} LIMIT {_STEP}"
                removed = self._db.execute(f"DELETE FROM quote_{number} WHERE rowid IN ({oldest})").rowcount
            with self._lock:
                # Not `execute`, which takes one step of a statement without columns: a single page.
                self._db.executescript(f"PRAGMA incremental_vacuum({_STEP})")
            time.sleep(_PAUSE_FACTOR * (time.monotonic() - began))
        with self._transaction():
            self._db.execute(f"DROP TABLE quote_{number}")
            self._db.execute("DELETE FROM partition WHERE number = ?", (number,))

    def _read(self, query: str) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query).fetchall()

    def _rows_of(self, number: int) -> Iterator[tuple[str | None, ...]]:
        # On a connection of its own: quotes are written meanwhile.
        with closing(sqlite3.connect(self._file)) as db:
            yield from db.execute(f"SELECT {', '.join(COLUMNS)} FROM quote_{number} ORDER BY rowid")

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether no other replica archives."""
        with (self._folder / "archive.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with sqlite_errors("the audit log"), self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite itself ends the transaction if the disk is full.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _statements(script: str) -> Iterator[str]:
    """A trigger has a semicolon inside: a statement ends with one at the end of a line."""
    statement = ""
    for line in script.strip().splitlines():
        statement += f"{line}\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _row(quote: Quote) -> tuple[str | None, ...]:
    item, offer = quote.item, quote.offer
    return (
        quote.quote_id, item.item_id, item.list_price.currency, str(item.list_price.amount), _amount(item.cost),
        _amount(item.price_floor), _amount(item.price_ceiling), None if item.stock is None else str(item.stock),
        str(item.created_s), str(offer.floor.amount), str(offer.ceiling.amount), str(offer.amount.amount),
        offer.reason.value, offer.explanation, quote.model_version, quote.request_id, str(quote.quoted_s),
        str(quote.valid_until_s), item.price_list_id, item.place_id,
    )  # fmt: skip


def _amount(money: Money | None) -> str | None:
    return None if money is None else str(money.amount)
