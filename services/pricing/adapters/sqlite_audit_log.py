"""The audit log in one SQLite file. Triggers refuse changes and removals."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

from services.common.money import Money
from services.pricing.ports import Quote

_COLUMNS = (
    "quote_id", "item_id", "currency", "list_price", "cost", "merchandiser_floor", "merchandiser_ceiling", "stock",
    "created_s", "price_floor", "price_ceiling", "offer", "reason", "explanation", "model_version", "request_id",
    "quoted_s", "valid_until_s",
)  # fmt: skip
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS quote (tenant TEXT, {", ".join(f"{name} TEXT" for name in _COLUMNS)},
                                  PRIMARY KEY (tenant, quote_id));
CREATE INDEX IF NOT EXISTS quote_of_item ON quote (tenant, item_id);
CREATE TRIGGER IF NOT EXISTS quote_is_final BEFORE UPDATE ON quote
    BEGIN SELECT RAISE(ABORT, 'a quote in the audit log is never changed'); END;
CREATE TRIGGER IF NOT EXISTS quote_stays BEFORE DELETE ON quote
    BEGIN SELECT RAISE(ABORT, 'a quote in the audit log is never removed'); END;
"""


class SqliteAuditLog:
    """See ports.AuditLog. With a write-ahead log: a committed quote survives a crash of the process."""

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(data_dir / "audit.db", timeout=10, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)

    def append(self, tenant: str, quotes: Sequence[Quote]) -> None:
        marks = ", ".join("?" * (len(_COLUMNS) + 1))
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.executemany(f"INSERT INTO quote VALUES ({marks})", [(tenant, *_row(q)) for q in quotes])
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def quotes_of(self, tenant: str, item_id: str, limit: int = 100) -> list[dict[str, str]]:
        with self._lock:
            rows = self._db.execute(
                f"SELECT {', '.join(_COLUMNS)} FROM quote WHERE tenant = ? AND item_id = ? ORDER BY rowid DESC LIMIT ?",
                (tenant, item_id, limit),
            ).fetchall()
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def close(self) -> None:
        with self._lock:
            self._db.close()


def _row(quote: Quote) -> tuple[str | None, ...]:
    item, offer = quote.item, quote.offer
    return (
        quote.quote_id, item.item_id, item.list_price.currency, str(item.list_price.amount), _amount(item.cost),
        _amount(item.price_floor), _amount(item.price_ceiling), None if item.stock is None else str(item.stock),
        str(item.created_s), str(offer.floor.amount), str(offer.ceiling.amount), str(offer.amount.amount),
        offer.reason.value, offer.explanation, quote.model_version, quote.request_id, str(quote.quoted_s),
        str(quote.valid_until_s),
    )  # fmt: skip


def _amount(money: Money | None) -> str | None:
    return None if money is None else str(money.amount)
