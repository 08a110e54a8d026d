"""One test suite for both stores of bills: SQLite, and a real PostgreSQL on a free port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from services.common.errors import Conflict
from services.control.adapters.sql_bill_store import SqlBillStore
from services.control.domain.bills import Bill, BillFilter, BillPlace
from tests.integration.postgres_server import PostgresServer

SHOP, OTHER = "shop", "other"
MONDAY = date(2026, 1, 5)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'control.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.database()


@pytest.fixture
def store(url: str) -> Iterator[SqlBillStore]:
    """At most three bills of a day."""
    with closing(SqlBillStore(url, most=3)) as made:
        yield made


def bill(campaign_id: str, days: int = 0, clicks: int = 3, is_final: bool = False) -> Bill:
    """Of Monday or a day so many later, at 30 cents a click."""
    return Bill(
        campaign_id, MONDAY + timedelta(days), "EUR", 100, clicks, 30 * clicks, 30 * clicks, 5_000, 10**18,
        {"own": 2, "repeated": 1}, is_final,
    )  # fmt: skip


def record(store: SqlBillStore, *bills: Bill, tenant: str = SHOP) -> int:
    return store.record(tenant, bills, MONDAY)


def listed(store: SqlBillStore, only: BillFilter | None = None, tenant: str = SHOP) -> list[Bill]:
    return store.bills(tenant, only or BillFilter(), None, 100)


def test_bills_are_there_after_a_restart(url: str) -> None:
    """Each has the same fields when the store is opened again, by campaign and day; tenants are apart."""
    with closing(SqlBillStore(url)) as first:
        assert record(first, bill("c-2"), bill("c", 1), bill("c", is_final=True)) == 3
        assert record(first, bill("z"), tenant=OTHER) == 1
    with closing(SqlBillStore(url)) as second:
        assert listed(second) == [bill("c", is_final=True), bill("c", 1), bill("c-2")]
        assert listed(second, tenant=OTHER) == [bill("z")]


def test_a_bill_is_replaced_until_it_is_final(store: SqlBillStore) -> None:
    """The last one counts; one that comes after the final one is not stored, and the others of its call are."""
    for clicks in (1, 5):
        assert record(store, bill("c", clicks=clicks)) == 1
    assert record(store, bill("c", clicks=4, is_final=True)) == 1
    assert record(store, bill("c", clicks=9), bill("c", clicks=9, is_final=True)) == 0
    assert record(store, bill("c", clicks=9), bill("d")) == 1
    assert listed(store) == [bill("c", clicks=4, is_final=True), bill("d")]


def test_bills_are_listed_in_pages(store: SqlBillStore) -> None:
    """By campaign and day, from a place on; both days of a filter are included."""
    made = [bill(campaign_id, days) for campaign_id in ("a", "a_b", "b") for days in range(3)]
    record(store, *made[::-1])
    assert store.bills(SHOP, BillFilter(), None, 4) == made[:4]
    assert store.bills(SHOP, BillFilter(), made[3].place, 4) == made[4:8]
    assert store.bills(SHOP, BillFilter(), BillPlace("a", date.max), 1) == made[3:4]
    assert listed(store, BillFilter("a_b")) == made[3:6]
    tuesday = MONDAY + timedelta(1)
    assert listed(store, BillFilter("b", tuesday)) == made[7:]
    assert listed(store, BillFilter("", None, MONDAY)) == made[::3]
    assert listed(store, BillFilter("a", tuesday, tuesday)) == made[1:2]


def test_the_store_is_bounded(store: SqlBillStore) -> None:
    """A fourth campaign on a day is refused with its whole call; days before the oldest one are removed."""
    record(store, bill("a"), bill("b"), bill("c"))
    with pytest.raises(Conflict, match="2026-01-05 would have bills of 4 campaigns"):
        record(store, bill("d", 1), bill("d"))
    assert record(store, bill("c", clicks=9), bill("d", 1)) == 2
    assert store.record(SHOP, [bill("d", 1)], MONDAY + timedelta(1)) == 1
    assert listed(store) == [bill("d", 1)]


def test_a_failed_call_stores_nothing(store: SqlBillStore) -> None:
    """All bills of a call are stored, or none."""
    with pytest.raises(Exception, match=r"(?i)null"):
        record(store, bill("a"), replace(bill("b"), currency=None))  # type: ignore[arg-type]
    assert listed(store) == []
