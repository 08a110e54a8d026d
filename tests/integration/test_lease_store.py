"""One test suite for leases over both databases of control: SQLite, and a real PostgreSQL on a free port."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from services.common.errors import Aborted
from services.control.adapters.sql_bill_store import SqlBillStore
from services.control.adapters.sql_lease_store import SqlLeaseStore
from services.control.adapters.sql_store import SqlControlStore
from services.control.domain.bills import Bill
from services.control.domain.changes import Author, Reference, create, publish
from services.control.domain.leases import AskedLease, LeaseCall, LeaseRules
from services.control.domain.resources import Key
from tests.contract.controls import CONTENTS
from tests.integration.postgres_server import PostgresServer

SHOP, CENT = "shop", 1_000_000
DAY = date(2026, 11, 29)
NOON = datetime.combine(DAY, datetime.min.time(), UTC) + timedelta(hours=12)
NOON_US, HOUR_US = round(NOON.timestamp()) * 1_000_000, 3_600_000_000
PRESENT = NOON_US // 300_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database with the published campaigns c1 and c2 and the draft c3."""
    url = f"sqlite:///{tmp_path / 'control.db'}"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.database()
    with closing(SqlControlStore(url)) as store:
        author = Author("anna", 1)
        for id in ("c1", "c2", "c3"):
            key = Key("campaign", id)
            made = store.change(SHOP, lambda view, key=key: create(view, key, CONTENTS["campaign"], author))  # type: ignore[misc]
            references = [Reference(key, made.resources[0].etag)]
            if id != "c3":
                store.change(SHOP, lambda view, named=references: publish(view, named, lambda *_: [], author))  # type: ignore[misc]
    return url


@pytest.fixture
def store(url: str) -> Iterator[SqlLeaseStore]:
    with closing(SqlLeaseStore(url, LeaseRules())) as opened:
        yield opened


def asking(campaign_id: str = "c1", used: int = 0, held: int = 0, total_limit: int | None = None) -> AskedLease:
    """20 euros a day."""
    return AskedLease(campaign_id, DAY, used, held, 2_000 * CENT, 2_000 * CENT, 0, total_limit, 40 * CENT)


def held_by(
    store: SqlLeaseStore, replica: str, *asked: AskedLease, call: int = 1, at_us: int = NOON_US, tenant: str = SHOP
) -> dict[str, int]:
    """In cents, by campaign."""
    leases = store.lease(tenant, LeaseCall(replica, call, asked), at_us)
    return {id: held // CENT for id, held, _ in leases.held}


def counted(store: SqlLeaseStore, replica: str, call: int, at_us: int = NOON_US, **traffic: int) -> list[int]:
    """All traffic of the last three intervals; `traffic` by n0 (the present one), n1 (the one before) and so on."""
    present = at_us // 300_000_000
    own = {present - int(name[1:]): requests for name, requests in traffic.items()}
    return list(store.lease(SHOP, LeaseCall(replica, call, (), own, present - 2), at_us).traffic)


def bill(campaign_id: str, day: date, value: int, amount: int) -> Bill:
    return Bill(campaign_id, day, "EUR", 10, 1, value, amount, 5 * value, 0, {}, is_final=False)


def test_another_process_knows_all_leases(store: SqlLeaseStore, url: str) -> None:
    """What one holds, another one does not give away."""
    assert held_by(store, "a", asking(), asking("c2")) == {"c1": 200, "c2": 200}
    with closing(SqlLeaseStore(url, LeaseRules())) as other:
        assert held_by(other, "b", asking()) == {"c1": 180}
        assert held_by(other, "b", asking(), tenant="another") == {}
    assert held_by(store, "a", asking(used=50 * CENT, held=200 * CENT), call=2) == {"c1": 50 + 177}


def test_bills_count(store: SqlLeaseStore, url: str) -> None:
    """Of the day, of all days for a total budget, and of the week for the return."""
    week = [bill("c1", DAY - timedelta(days=days), 100, 60) for days in range(10)]
    with closing(SqlBillStore(url)) as bills:
        bills.record(SHOP, [*week, bill("c2", DAY - timedelta(days=9), 90, 90)], date.min)
        bills.record("another", [bill("c1", DAY, 2_000, 2_000)], date.min)
    asked = asking(total_limit=900 * CENT), asking("c2", total_limit=100 * CENT)
    c1, c2 = store.lease(SHOP, LeaseCall("a", 1, asked), NOON_US).held
    billed = c1[2]
    assert (billed.on_day, billed.in_all) == (100 * CENT, 600 * CENT)
    assert (billed.value_of_week, billed.sales_of_week) == (700 * CENT, 3_500 * CENT)
    # A tenth of 300 is less than the bid.
    assert (c1[1], c2[1]) == (40 * CENT, 10 * CENT)


def test_campaigns_that_are_not_published_have_no_lease(store: SqlLeaseStore) -> None:
    """Drafts, and ids that nobody knows."""
    leases = store.lease(SHOP, LeaseCall("a", 1, (asking("c3"), asking(), asking("c9"))), NOON_US)
    assert [id for id, *_ in leases.held] == ["c1"]
    assert leases.missing == ["c3", "c9"]


def test_what_was_used_counts_until_bills_are_complete(store: SqlLeaseStore, url: str) -> None:
    """Up to a minute after it. An earlier time than that recorded before changes nothing."""
    held_by(store, "a", asking())
    held_by(store, "a", asking(used=200 * CENT, held=200 * CENT), call=2)
    later_us = NOON_US + HOUR_US
    assert held_by(store, "b", asking(), at_us=later_us) == {"c1": 162}
    with closing(SqlBillStore(url)) as bills:
        for complete_us in (NOON_US, later_us, NOON_US):
            assert bills.record(SHOP, [], date.min, complete_us) == 0
    assert held_by(store, "c", asking(), at_us=later_us) == {"c1": 183}


def test_a_late_call_changes_nothing(store: SqlLeaseStore) -> None:
    """Not even for its other campaigns."""
    held_by(store, "a", asking(), call=2)
    with pytest.raises(Aborted):
        held_by(store, "a", asking("c2"), asking(), call=1)
    assert held_by(store, "b", asking("c2")) == {"c2": 200}


def test_processes_never_lease_more_than_the_limit(url: str) -> None:
    """Ten replicas of two processes, at the same moment and over and over."""
    with closing(SqlLeaseStore(url, LeaseRules(share=0.5))) as one, closing(SqlLeaseStore(url, LeaseRules())) as two:
        held = dict.fromkeys(map(str, range(10)), 0)

        def work(replica: str) -> None:
            for call in range(1, 6):
                now = asking(used=held[replica] * CENT, held=held[replica] * CENT)
                store = one if int(replica) % 2 else two
                held[replica] = max(held[replica], held_by(store, replica, now, call=call)["c1"])

        with ThreadPoolExecutor(10) as pool:
            list(pool.map(work, held))
    assert 1_900 < sum(held.values()) <= 2_000


def test_traffic_is_counted_once(store: SqlLeaseStore) -> None:
    """Of all replicas; the same number again, or an older one, changes nothing."""
    assert counted(store, "a", 1, n0=5, n1=7) == [0, 7, 5]
    assert counted(store, "b", 1, n1=10) == [0, 17, 5]
    assert counted(store, "a", 2, n0=5, n1=7) == [0, 17, 5]
    assert counted(store, "a", 3, n0=9, n1=6) == [0, 17, 9]


def test_the_past_is_bounded(store: SqlLeaseStore) -> None:
    """Traffic of nine days is kept, and leases for a day."""
    counted(store, "a", 1, n0=5)
    held_by(store, "a", asking(), call=2)
    late_us = NOON_US + 9 * 24 * HOUR_US
    answer = store.lease(SHOP, LeaseCall("b", 1, (), {}, 1), late_us)
    assert (answer.traffic_from, len(answer.traffic), answer.traffic[0]) == (PRESENT, 9 * 288 + 1, 5)
    late_us += HOUR_US
    counted(store, "b", 2, at_us=late_us, n0=1)
    assert sum(store.lease(SHOP, LeaseCall("b", 3, (), {}, 1), NOON_US + HOUR_US).traffic) == 0
    assert held_by(store, "a", asking(), at_us=late_us) == {"c1": 200}
