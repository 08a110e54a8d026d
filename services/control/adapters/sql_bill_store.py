"""Bills over SQLAlchemy, beside the resources: SQLite in control.db, or PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from typing import Any

import sqlalchemy as sa

from services.common.errors import Conflict
from services.control.adapters.database import Database
from services.control.adapters.schema import BILLS, migrate_resources
from services.control.domain.bills import Bill, BillFilter, BillPlace
from services.control.domain.limits import MAX_DAY_BILLS

_NAMES = [column.name for column in BILLS.columns]
_RECORD = sa.text(
    f"INSERT INTO bills ({', '.join(_NAMES)}) VALUES ({', '.join(f':{name}' for name in _NAMES)}) "
    "ON CONFLICT (tenant, campaign_id, day) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _NAMES[3:])
    + " WHERE NOT bills.is_final"
)

_COMPLETE = sa.text(
    "INSERT INTO bill_times (tenant, complete_us) VALUES (:tenant, :complete_us) ON CONFLICT (tenant) DO UPDATE "
    "SET complete_us = excluded.complete_us WHERE bill_times.complete_us < excluded.complete_us"
)


class SqlBillStore:
    """See ports.BillStore. `url` is that of SqlControlStore; raises as it does. `most`: bills of a tenant and day."""

    def __init__(self, url: str, most: int = MAX_DAY_BILLS) -> None:
        self._database, self._most = Database(url), most
        with self._database.transaction(writes=True) as connection:
            migrate_resources(connection)

    def record(self, tenant: str, bills: Sequence[Bill], oldest: date, complete_us: int = 0) -> int:
        # In order: two processes that record the same bills must not wait for each other.
        rows = [_row(tenant, bill) for bill in sorted(bills, key=lambda bill: bill.place)]
        columns, days = BILLS.c, {row["day"] for row in rows}
        count = sa.func.count()
        beyond = (
            sa.select(columns.day, count)
            .where(columns.tenant == tenant, columns.day.in_(days))
            .group_by(columns.day)
            .having(count > self._most)
        )
        with self._database.transaction(writes=True) as connection:
            stored = connection.execute(_RECORD, rows).rowcount if rows else 0
            if full := connection.execute(beyond).first():
                raise Conflict(
                    f"the day {full.day} would have bills of {full[1]} campaigns, and at most {self._most} are "
                    "stored; use fewer campaigns with more products"
                )
            connection.execute(sa.delete(BILLS).where(columns.tenant == tenant, columns.day < oldest.isoformat()))
            if complete_us:
                connection.execute(_COMPLETE, {"tenant": tenant, "complete_us": complete_us})
        return stored

    def bills(self, tenant: str, only: BillFilter, after: BillPlace | None, limit: int) -> list[Bill]:
        columns = BILLS.c
        query = sa.select(BILLS).where(columns.tenant == tenant)
        if only.campaign_id:
            query = query.where(columns.campaign_id == only.campaign_id)
        if only.from_day is not None:
            query = query.where(columns.day >= only.from_day.isoformat())
        if only.until_day is not None:
            query = query.where(columns.day <= only.until_day.isoformat())
        if after is not None:
            place = sa.tuple_(columns.campaign_id, columns.day)
            query = query.where(place > sa.tuple_(after.campaign_id, after.day.isoformat()))
        with self._database.transaction() as connection:
            rows = connection.execute(query.order_by(columns.campaign_id, columns.day).limit(limit))
            return [_bill(row) for row in rows]

    def close(self) -> None:
        self._database.close()


def _row(tenant: str, bill: Bill) -> dict[str, Any]:
    row = {"tenant": tenant, **{name: getattr(bill, name) for name in _NAMES[1:]}}
    return {**row, "day": bill.day.isoformat(), "refused": json.dumps(dict(bill.refused), sort_keys=True)}


def _bill(row: Any) -> Bill:
    known = {name: getattr(row, name) for name in _NAMES[1:]}
    known |= {"day": date.fromisoformat(row.day), "refused": json.loads(row.refused), "is_final": bool(row.is_final)}
    return Bill(**known)
