"""A full disk and a lock that is held are no defects."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from services.common.errors import Overloaded, Unavailable
from services.common.sqlite_errors import sqlite_errors


def test_a_full_disk_is_an_overload(tmp_path: Path) -> None:
    """The caller is told when to try again."""
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("CREATE TABLE t (x)")
        db.execute("PRAGMA max_page_count=3")
        with pytest.raises(Overloaded, match="the disk of the store is full") as raised, sqlite_errors("the store"):
            db.execute("INSERT INTO t VALUES (zeroblob(100000))")
    assert raised.value.retry_after_s > 0


def test_a_held_lock_is_unavailable(tmp_path: Path) -> None:
    """Another process holds the write lock."""
    with (
        closing(sqlite3.connect(tmp_path / "x.db", timeout=0)) as db,
        closing(sqlite3.connect(tmp_path / "x.db")) as it,
    ):
        it.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="locked"), sqlite_errors("the store"):
            db.execute("BEGIN IMMEDIATE")


def test_a_defect_stays_one() -> None:
    """A wrong statement is neither."""
    with pytest.raises(sqlite3.OperationalError), sqlite_errors("x"), closing(sqlite3.connect(":memory:")) as db:
        db.execute("SELECT nothing FROM nowhere")
