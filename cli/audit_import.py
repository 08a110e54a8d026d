"""Reads the file in which pricing kept its audit log before it had an outbox, as audit entries."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import common_pb2
from kairos.control.v1 import audit_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.convert import money_to_proto
from services.common.errors import InvalidArgument
from services.common.money import Money

_TABLE = re.compile(r"quote(_\d+)?")


def quotes_of(file: Path, tenant: str, most: int) -> Iterator[tuple[str, list[audit_pb2.AuditEntry]]]:
    """At most `most` quotes at a time, each time of one tenant; only of `tenant` unless it is empty. Raises
    InvalidArgument.
    """
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            tables = _tables(db)
            if not tables:
                raise InvalidArgument.of(file.name, "has no table quote_N; give the audit.db of pricing")
            tenants = {row["tenant"] for table in tables for row in db.execute(f"SELECT DISTINCT tenant FROM {table}")}
            for name in sorted(tenants if not tenant else tenants & {tenant}):
                for table in tables:
                    rows = db.execute(f"SELECT * FROM {table} WHERE tenant = ? ORDER BY rowid", (name,))
                    while some := list(islice(rows, most)):
                        yield name, [_entry(dict(row)) for row in some]
    except sqlite3.Error as error:
        raise InvalidArgument.of(file.name, f"cannot be read: {error}; give the audit.db of pricing") from None


def _tables(db: sqlite3.Connection) -> list[str]:
    """Those whose quotes are not in the archive, oldest first."""
    query = "SELECT name FROM sqlite_master WHERE type = 'table'"
    names = [row["name"] for row in db.execute(query)]
    archived = set[str]()
    if "partition" in names:
        numbers = db.execute("SELECT number FROM partition WHERE archived_s IS NOT NULL")
        archived = {f"quote_{row['number']}" for row in numbers}
    found = [name for name in names if _TABLE.fullmatch(name) and name not in archived]
    return sorted(found, key=lambda name: int(name.partition("_")[2] or 0))


def _entry(row: dict[str, Any]) -> audit_pb2.AuditEntry:
    """Tables of the earliest layout have no price_list_id and no place_id."""

    def money(column: str) -> common_pb2.Money:
        return money_to_proto(Money(row["currency"], Decimal(row[column])))

    item = pricing_pb2.PricedItem(
        item_id=row["item_id"],
        list_price=money("list_price"),
        created_at_seconds=int(float(row["created_s"])),
        price_list_id=row.get("price_list_id") or "",
        place_id=row.get("place_id") or "",
    )
    if row["cost"] is not None:
        item.cost.CopyFrom(money("cost"))
    if row["merchandiser_floor"] is not None:
        item.price_floor.CopyFrom(money("merchandiser_floor"))
    if row["merchandiser_ceiling"] is not None:
        item.price_ceiling.CopyFrom(money("merchandiser_ceiling"))
    if row["stock"] is not None:
        item.stock = int(row["stock"])
    quote = pricing_pb2.PriceQuote(
        quote_id=row["quote_id"],
        item_id=row["item_id"],
        list_price=money("list_price"),
        price_floor=money("price_floor"),
        price_ceiling=money("price_ceiling"),
        offer=money("offer"),
        reason=pricing_pb2.PriceReason.Value(f"PRICE_REASON_{row['reason'].upper()}"),
        explanation=row["explanation"],
        model_version=row["model_version"],
        quoted_at=_time(row["quoted_s"]),
        valid_until=_time(row["valid_until_s"]),
    )
    return audit_pb2.AuditEntry(
        id=row["quote_id"],
        recorded_at=quote.quoted_at,
        subject_id=row["item_id"],
        request_id=row["request_id"],
        quoted_price=audit_pb2.QuotedPrice(item=item, quote=quote),
    )


def _time(seconds: str) -> Timestamp:
    moment = Timestamp()
    moment.FromMicroseconds(round(float(seconds) * 1e6))
    return moment
