"""The publisher's state in one SQLite file, which one process uses."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from pydantic import TypeAdapter

from services.common.sqlite_errors import sqlite_errors, sqlite_transaction
from services.pricing.domain.publication import KnownProduct
from services.pricing.publisher.ports import Worked

# Tables of the layout before this one are removed: they are built again from the catalogue.
_SCHEMA = """
DROP TABLE IF EXISTS place;
DROP TABLE IF EXISTS upcoming;
CREATE TABLE IF NOT EXISTS progress (policies TEXT, page_token TEXT, walk INTEGER, is_walking INTEGER);
CREATE TABLE IF NOT EXISTS product (product_id TEXT PRIMARY KEY, due_s REAL, walk INTEGER, known BLOB) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS product_by_time ON product (due_s) WHERE due_s IS NOT NULL;
CREATE TABLE IF NOT EXISTS waiting (review_id TEXT PRIMARY KEY, product_id TEXT) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting_by_product ON waiting (product_id);
CREATE TABLE IF NOT EXISTS spent (
  policy_id TEXT, month TEXT, amount TEXT, PRIMARY KEY (policy_id, month)
) WITHOUT ROWID;
"""
_KNOWN = TypeAdapter(KnownProduct)
# Part of what the state belongs to: after a change of what is published, everything is computed again.
_LAYOUT = 2
# Months of which it is kept what discounts have cost.
_MONTHS = 12


class SqlitePublisherState:
    """See ports.PublisherState. Raises ValueError if another process uses `folder`.

    A read of the whole catalogue is a walk. At its end products that it did not see are forgotten.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
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
        if self._db.execute("SELECT 1 FROM progress").fetchone() is None:
            self._db.execute("INSERT INTO progress VALUES ('', '', 0, 1)")

    def follow(self, policies: str) -> None:
        policies = f"{_LAYOUT} {policies}"
        if self._db.execute("SELECT policies FROM progress").fetchone() != (policies,):
            with self._transaction():
                self._begin_walk()
                self._db.execute("UPDATE progress SET policies = ?", (policies,))

    def page_token(self) -> str:
        token: str = self._db.execute("SELECT page_token FROM progress").fetchone()[0]
        return token

    def restart(self) -> None:
        with self._transaction():
            self._begin_walk()

    def known(self, product_ids: Sequence[str]) -> dict[str, KnownProduct]:
        query = f"SELECT known FROM product WHERE product_id IN ({','.join('?' * len(product_ids))})"
        found = [_KNOWN.validate_json(data) for (data,) in self._db.execute(query, tuple(product_ids))]
        return {each.product.product_id: each for each in found}

    def spent(self, month: str) -> dict[str, Decimal]:
        rows = self._db.execute("SELECT policy_id, amount FROM spent WHERE month = ?", (month,))
        return {policy_id: Decimal(amount) for policy_id, amount in rows}

    def save(self, worked: Worked) -> None:
        with self._transaction():
            if worked.is_restarted:
                self._begin_walk()
            (walk,) = self._db.execute("SELECT walk FROM progress").fetchone()
            rows = [
                (known.product.product_id, due_s if due_s < math.inf else None, walk, _KNOWN.dump_json(known))
                for known, due_s in worked.known
            ]
            self._db.executemany("INSERT OR REPLACE INTO product VALUES (?, ?, ?, ?)", rows)
            self._db.executemany("DELETE FROM product WHERE product_id = ?", [(id,) for id in worked.gone_ids])
            self._save_waiting([known for known, _ in worked.known], worked.gone_ids)
            if worked.page_token is not None:
                self._db.execute("UPDATE progress SET page_token = ?", (worked.page_token,))
            if worked.is_last_page:
                self._end_walk(walk)
            if worked.spent:
                self._add_spent(worked.spent, worked.month)

    def due(self, now_s: float, limit: int) -> list[KnownProduct]:
        query = "SELECT known FROM product WHERE due_s <= ? ORDER BY due_s LIMIT ?"
        return [_KNOWN.validate_json(data) for (data,) in self._db.execute(query, (now_s, limit))]

    def waiting(self, review_ids: Collection[str]) -> list[KnownProduct]:
        marks = ",".join("?" * len(review_ids))
        query = f"SELECT DISTINCT known FROM waiting JOIN product USING (product_id) WHERE review_id IN ({marks})"
        return [_KNOWN.validate_json(data) for (data,) in self._db.execute(query, tuple(review_ids))]

    def waiting_count(self) -> int:
        (count,) = self._db.execute("SELECT COUNT(*) FROM waiting").fetchone()
        return int(count)

    def upcoming_count(self) -> int:
        (count,) = self._db.execute("SELECT COUNT(*) FROM product WHERE due_s IS NOT NULL").fetchone()
        return int(count)

    def close(self) -> None:
        self._db.close()

    def _begin_walk(self) -> None:
        self._db.execute("UPDATE progress SET page_token = '', walk = walk + 1, is_walking = 1")

    def _end_walk(self, walk: int) -> None:
        if self._db.execute("SELECT is_walking FROM progress").fetchone() == (1,):
            self._db.execute("DELETE FROM product WHERE walk < ?", (walk,))
            self._db.execute("DELETE FROM waiting WHERE product_id NOT IN (SELECT product_id FROM product)")
            self._db.execute("UPDATE progress SET is_walking = 0")

    def _save_waiting(self, known: Sequence[KnownProduct], gone_ids: Sequence[str]) -> None:
        ids = [(each.product.product_id,) for each in known] + [(id,) for id in gone_ids]
        self._db.executemany("DELETE FROM waiting WHERE product_id = ?", ids)
        rows = [
            (record.waiting.review_id, each.product.product_id)
            for each in known
            for record in each.records.values()
            if record.waiting is not None
        ]
        self._db.executemany("INSERT OR REPLACE INTO waiting VALUES (?, ?)", rows)

    def _add_spent(self, spent: Mapping[str, Decimal], month: str) -> None:
        before = self.spent(month)
        rows = [(id, month, str(before.get(id, Decimal(0)) + amount)) for id, amount in spent.items()]
        self._db.executemany("INSERT OR REPLACE INTO spent VALUES (?, ?, ?)", rows)
        oldest = "SELECT DISTINCT month FROM spent ORDER BY month DESC LIMIT -1 OFFSET ?"
        self._db.execute(f"DELETE FROM spent WHERE month IN ({oldest})", (_MONTHS,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with sqlite_transaction(self._db, "the publisher's state", "BEGIN"):
            yield
