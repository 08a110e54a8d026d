"""A connection pool over SQLite in one file, or PostgreSQL, and its transactions."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnection

from services.common.errors import Unavailable
from services.common.sqlite_errors import sqlite_errors

# Seconds that a call waits: for a connection, for another's lock, for a statement.
_CONNECT_S, _LOCK_S, _STATEMENT_S = 2, 5, 15
_POOL, _OVERFLOW = 4, 4
_WRITES = "kairos_writes"

_log = structlog.get_logger("kairos.control.store")


class Database:
    """`url` is SQLAlchemy's: sqlite:///folder/name.db, or postgresql+psycopg://user@host/name. `shrinks`: a new SQLite
    file can give back the space of removed rows.
    """

    def __init__(self, url: str, shrinks: bool = False) -> None:
        self.engine = _engine(url, shrinks)
        self.is_postgresql = self.engine.dialect.name == "postgresql"

    @contextmanager
    def transaction(self, writes: bool = False) -> Iterator[sa.Connection]:
        """Raises Unavailable, and Overloaded if the disk of a SQLite file is full."""
        with _store_errors(), self.engine.connect() as raw:
            connection = raw.execution_options(**{_WRITES: writes})
            with connection.begin():
                yield connection

    @contextmanager
    def session(self) -> Iterator[sa.Connection]:
        """A connection of PostgreSQL on which each statement is a transaction of its own. Raises as `transaction`."""
        with _store_errors(), self.engine.connect() as raw:
            yield raw.execution_options(isolation_level="AUTOCOMMIT")

    def give_space_back(self, pages: int) -> None:
        """Of a SQLite file that shrinks: at most so many free pages. Raises as `transaction`."""
        with sqlite_errors("control's store"), closing(self.engine.raw_connection()) as connection:
            # Not `execute`, which takes one step of a statement without columns: a single page.
            connection.driver_connection.executescript(f"PRAGMA incremental_vacuum({pages})")  # type: ignore[union-attr]

    def close(self) -> None:
        self.engine.dispose()


def _engine(url: str, shrinks: bool) -> sa.Engine:
    if not url.startswith("postgresql"):
        engine = sa.create_engine(url, connect_args={"timeout": _LOCK_S}, pool_size=_POOL, max_overflow=_OVERFLOW)
        event.listen(engine, "connect", _prepare_shrinking_sqlite if shrinks else _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    options = {
        "statement_timeout": _STATEMENT_S * 1_000,
        "lock_timeout": _LOCK_S * 1_000,
        "idle_in_transaction_session_timeout": _STATEMENT_S * 1_000,
        "synchronous_commit": "on",
    }
    arguments = {
        "connect_timeout": _CONNECT_S,
        "application_name": "kairos-control",
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
    }
    return sa.create_engine(
        url, connect_args=arguments, pool_pre_ping=True, pool_size=_POOL, max_overflow=_OVERFLOW, pool_timeout=_LOCK_S
    )


def _prepare_shrinking_sqlite(connection: Any, record: Any) -> None:
    # Effective before the first table is made.
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    # A call with 1,000 audit entries changes as many pages of indexes, mostly those of the calls before. With SQLite's
    # own bound of 4 MB each call would copy them all from the log to the file, and take twice as long.
    connection.execute("PRAGMA wal_autocheckpoint=8000")
    connection.execute("PRAGMA cache_size=-32000")
    _prepare_sqlite(connection, record)


def _prepare_sqlite(connection: Any, _: Any) -> None:
    # Otherwise the driver begins and ends transactions by itself.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first and writes later could find that another one has written meanwhile.
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except NoConnection as error:
        raise Unavailable("control's database is busy; try again") from error
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            with sqlite_errors("control's store"):
                raise error.orig from error
        if not isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) and not error.connection_invalidated:
            raise
        _log.warning("the database cannot be used", error=str(error.orig))
        raise Unavailable(
            "control's database cannot be reached; what is published stays effective, try again"
        ) from error
