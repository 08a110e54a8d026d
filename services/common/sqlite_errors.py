"""What an error of a service's SQLite file means to a caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from services.common.errors import Overloaded, Unavailable

_RETRY_S = 30.0

_log = structlog.get_logger("kairos.sqlite")


@contextmanager
def sqlite_errors(whose: str) -> Iterator[None]:
    """Raises Overloaded if the disk is full, and Unavailable if another process has kept the write lock for too long.

    `whose` names the file, for example "the ranker's store".
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith("SQLITE_FULL"):
            _log.error(
                f"the disk of {whose} is full", error=str(error),
                remedy="give it more room, or lower the retention: docs/how-to/runbook.md#kairosstorefull",
            )  # fmt: skip
            raise Overloaded(f"the disk of {whose} is full; reads go on. Try again later", _RETRY_S) from error
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise Unavailable(f"{whose} is locked by another process; try again") from error
        raise


@contextmanager
def sqlite_transaction(db: sqlite3.Connection, whose: str, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
    """All of it or nothing is written. `db` begins no transactions by itself. Raises as `sqlite_errors`."""
    with sqlite_errors(whose):
        db.execute(begin)
        try:
            yield
            db.execute("COMMIT")
        except BaseException:
            # SQLite itself ends the transaction if the disk is full.
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
