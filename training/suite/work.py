"""The work folder of one run: what was read from the suite, in one SQLite file, and what is being trained.

A page of records and the token of the next page are written in one transaction: a run that was killed continues at the
page behind it. The folder holds events of persons: it is removed after the run, and a folder older than `MAX_AGE_S` is
read anew, so that what a person had deleted does not stay.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common.versions import replace_file

MAX_AGE_S = 24 * 3_600.0
_RECORDS, _ABOUT, _LOCK = "records.sqlite", "about.json", ".lock"
_SCHEMA = """
create table if not exists records (kind text, position integer, body blob, primary key (kind, position)) without rowid;
create table if not exists products (id text primary key, body blob, text blob, image blob) without rowid;
create table if not exists progress (kind text primary key, token text, is_done integer) without rowid;
"""


@dataclass(frozen=True)
class StoredProduct:
    """`body` is a serialized common.v1.Product. `text` and `image` are float16 vectors, empty where there is none."""

    id: str
    body: bytes
    text: bytes
    image: bytes


@dataclass(frozen=True)
class Progress:
    """`token` is that of the next page."""

    token: str = ""
    is_done: bool = False


class WorkFolder:
    """For one process at a time, and one thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._connection: sqlite3.Connection | None = None
        self._is_over = False

    @contextlib.contextmanager
    def opened(self, key: str, now_s: float) -> Iterator[None]:
        """Keeps what an earlier run with the same `key` (suite and tenant) has read, if it is not too old.

        Raises ValueError if another run uses the folder.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / _LOCK).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ValueError(f"another `kairos train` uses {self.folder}; give this one another --work") from None
            about = self.about()
            if about.get("key") != key or not 0 <= now_s - about.get("began_s", -MAX_AGE_S) < MAX_AGE_S:
                self.clear()
                self.note(key=key, began_s=now_s)
            self._connection = sqlite3.connect(self.folder / _RECORDS)
            try:
                self._connection.executescript(_SCHEMA)
                yield
            finally:
                self._connection.close()
                self._connection = None
                if self._is_over:
                    self.clear()

    def end(self) -> None:
        """The run has done everything: the folder is emptied when it is closed."""
        self._is_over = True

    def clear(self) -> None:
        """Removes everything but the lock."""
        for path in self.folder.iterdir():
            if path.name == _LOCK:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def trained(self, kind: str, *settings: object) -> Path:
        """The folder for what is trained with these settings: with others, an interrupted run begins anew."""
        digest = hashlib.blake2b(repr(settings).encode(), digest_size=6).hexdigest()
        return self.folder / kind / digest

    def about(self) -> dict[str, Any]:
        """What `note` has written."""
        try:
            found: dict[str, Any] = json.loads((self.folder / _ABOUT).read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return found

    def note(self, **about: object) -> None:
        replace_file(self.folder / _ABOUT, json.dumps(self.about() | about) + "\n")

    def progress(self, kind: str) -> Progress:
        row = self._db.execute("select token, is_done from progress where kind = ?", [kind]).fetchone()
        return Progress(row[0], bool(row[1])) if row else Progress()

    def add_records(self, kind: str, bodies: Sequence[bytes], progress: Progress) -> None:
        """In the order of the log."""
        with self._db:
            first = self.count(kind) + 1
            rows = [(kind, first + at, body) for at, body in enumerate(bodies)]
            self._db.executemany("insert into records values (?, ?, ?)", rows)
            self._set(kind, progress)

    def add_products(self, products: Sequence[StoredProduct], progress: Progress, is_restarted: bool = False) -> None:
        with self._db:
            if is_restarted:
                self._db.execute("delete from products")
            rows = [(product.id, product.body, product.text, product.image) for product in products]
            self._db.executemany("insert or replace into products values (?, ?, ?, ?)", rows)
            self._set("products", progress)

    def clear_products(self) -> None:
        with self._db:
            self._db.execute("delete from products")
            self._db.execute("delete from progress where kind = 'products'")

    def clear_records(self, kind: str) -> None:
        with self._db:
            self._db.execute("delete from records where kind = ?", [kind])
            self._db.execute("delete from progress where kind = ?", [kind])

    def count(self, kind: str) -> int:
        if kind == "products":
            return int(self._db.execute("select count(*) from products").fetchone()[0])
        return int(
            self._db.execute("select coalesce(max(position), 0) from records where kind = ?", [kind]).fetchone()[0]
        )

    def records(self, kind: str, after: int = 0, limit: int = -1) -> Iterator[tuple[int, bytes]]:
        """(position, body) in the order of the log; positions begin with 1."""
        query = "select position, body from records where kind = ? and position > ? order by position limit ?"
        yield from self._db.execute(query, [kind, after, limit])

    def products(self) -> Iterator[StoredProduct]:
        """In the order of their ids."""
        for row in self._db.execute("select id, body, text, image from products order by id"):
            yield StoredProduct(*row)

    def _set(self, kind: str, progress: Progress) -> None:
        self._db.execute("insert or replace into progress values (?, ?, ?)", [kind, progress.token, progress.is_done])

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the work folder is not opened")
        return self._connection
