"""The ledger of sponsored places on disk: each fact once, final bills, budgets by day, and bounds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from random import Random

import pytest

from services.sponsored.accounts import AccountRules, Accounts
from services.sponsored.adapters.sqlite_ledger import SqliteLedger
from services.sponsored.domain.billing import DailyBill
from services.sponsored.domain.facts import Fact, Facts, Purchase, Refund
from services.sponsored.domain.invalid_clicks import ClickRules, Verdict
from services.sponsored.ports import LogPlace
from tests.unit.sponsored.campaigns import MONDAY_S, campaign, click_on, impression

DAY_S = 86_400.0
MONDAY = date(2026, 1, 5)
CAMPAIGNS = {"c": campaign(daily_budget=250, total_budget=400)}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    made = SqliteLedger(tmp_path)
    yield made
    made.close()


def accounts(ledger: SqliteLedger, days: float) -> Accounts:
    """So many days after Monday."""
    return Accounts(
        ledger, lambda _: CAMPAIGNS, AccountRules(), ClickRules(), lambda: MONDAY_S + days * DAY_S
    )  # fmt: skip


def two_days() -> list[Fact]:
    """Ten clicks at 30 cents on Monday and ten on Tuesday, one of them by a person who clicks again, and a purchase."""
    shown = [
        impression(number, shown_s=MONDAY_S + number % 2 * DAY_S + number, expected_clicks=0.5) for number in range(20)
    ]
    clicks = [click_on(one) for one in shown]
    sale = Purchase("sale", "person-0", "p", 500, MONDAY_S + 60, "EUR", 2, "o1")
    return [*shown, *clicks, click_on(shown[0], "again"), sale, Refund("back", "person-0", "p", MONDAY_S + 70, 1, "o1")]


def test_facts_are_read_as_they_were_recorded(ledger: SqliteLedger) -> None:
    """In any order, three times, by tenant: what is read equals the set of facts in memory."""
    facts, log, random = Facts(), two_days() * 3, Random(7)
    facts.add(log)
    random.shuffle(log)
    for start in range(0, len(log), 7):
        ledger.record("shop", log[start : start + 7])
    trades = ledger.trades("shop", 0)
    found = ledger.facts("shop", 0, MONDAY_S + 9 * DAY_S)
    assert (found.impressions, found.clicks) == (facts.impressions, facts.clicks)
    assert (trades.purchases, trades.refunds) == (facts.purchases, facts.refunds)
    assert ledger.facts("other", 0, MONDAY_S + 9 * DAY_S) == ledger.trades("other", 0) == Facts()


def test_of_two_prices_the_lower_one_stays(ledger: SqliteLedger) -> None:
    """Whichever is recorded first."""
    for first, second in ((20, 30), (30, 20)):
        tenant = f"t{first}"
        ledger.record(tenant, [impression(0, price=first)])
        ledger.record(tenant, [impression(0, price=second)])
        assert [one.price for one in ledger.facts(tenant, 0, 2e9).impressions.values()] == [20]


def test_a_statement_keeps_within_the_budgets(ledger: SqliteLedger) -> None:
    """250 cents on Monday; on Tuesday what the total budget leaves."""
    ledger.record("shop", two_days())
    found = accounts(ledger, 2).statement("shop")
    assert [(bill.day, bill.clicks, bill.value, bill.amount) for bill in found] == [
        (MONDAY, 10, 300, 250), (MONDAY + timedelta(days=1), 10, 300, 150)
    ]  # fmt: skip
    assert found[0].refused == {Verdict.REPEATED: 1}


def test_a_settled_day_never_changes(ledger: SqliteLedger) -> None:
    """Three days later Monday is final: a click that comes then is on no bill. Tuesday is as it was."""
    ledger.record("shop", two_days())
    before = accounts(ledger, 3).statement("shop")
    accounts(ledger, 3).settle("shop")
    late = impression(100, shown_s=MONDAY_S + 100)
    ledger.record("shop", [late, click_on(late)])
    assert ledger.settled_until("shop") == MONDAY
    assert accounts(ledger, 3).statement("shop") == before
    for days in (4, 4, 5):
        accounts(ledger, days).settle("shop")
    assert accounts(ledger, 6).statement("shop") == before
    assert ledger.final_bills("shop", MONDAY) == [replace(bill, sales=0) for bill in before]
    assert ledger.paid("shop") == {"c": 400}


def test_sales_are_waited_for_ten_days(ledger: SqliteLedger) -> None:
    """A purchase seven days after the click is on the settled bill, which is final on the tenth day."""
    ledger.record("shop", two_days())
    accounts(ledger, 7).settle("shop")
    ledger.record("shop", [Purchase("late", "person-0", "p", 900, MONDAY_S + 7 * DAY_S, "EUR")])
    found = {days: accounts(ledger, days).statement("shop")[0] for days in (9, 10)}
    assert [(bill.sales, bill.is_final) for bill in found.values()] == [(1_400, False), (1_400, True)]
    assert accounts(ledger, 10).statement("shop", MONDAY + timedelta(1))[0].day == MONDAY + timedelta(1)


def test_budgets_are_known_by_day(ledger: SqliteLedger) -> None:
    """It was 250 until Tuesday morning, then 100, 200 and 100, and 50 from Wednesday noon on: the greatest of a day."""
    for days, budget in ((0.2, 250), (0.5, 250), (1.1, 100), (1.5, 200), (1.6, 100), (2.5, 50), (9.0, 50)):
        ledger.keep_campaigns("shop", [campaign(daily_budget=budget)], MONDAY_S + days * DAY_S)
    known = ledger.campaigns("shop")["c"]
    assert [known.budget_of(MONDAY + timedelta(days)) for days in range(-1, 5)] == [250, 250, 250, 100, 50, 50]


def test_only_days_with_new_facts_are_counted_again(ledger: SqliteLedger) -> None:
    """The same account finds what a new one finds, after each fact and each change of the campaigns."""
    known, kept = dict(CAMPAIGNS), list[Fact]()
    account = Accounts(ledger, lambda _: known, AccountRules(), ClickRules(), lambda: MONDAY_S + 2 * DAY_S)
    for fact in (*two_days()[::-1], impression(7, price=5, shown_s=MONDAY_S + 1), impression(50, "d")):
        ledger.record("shop", [fact])
        kept.append(fact)
        if len(kept) % 10 == 5:
            known["d"] = campaign("d", own_person_ids=frozenset({f"person-{len(kept)}"}))
        fresh = Accounts(ledger, lambda _: known, AccountRules(), ClickRules(), lambda: MONDAY_S + 2 * DAY_S)
        assert account.statement("shop") == fresh.statement("shop")
    assert len(account.statement("shop")) == 3


def test_a_final_bill_cannot_be_changed(ledger: SqliteLedger, tmp_path: Path) -> None:
    """Not through the ledger, and not through the file."""
    ledger.settle("shop", MONDAY, [DailyBill("c", MONDAY, "EUR", 1, 1, 30, 30)])
    ledger.settle("shop", MONDAY, [DailyBill("c", MONDAY, "EUR", 9, 9, 90, 90)])
    assert [bill.amount for bill in ledger.final_bills("shop", MONDAY)] == [30]
    with sqlite3.connect(tmp_path / "ledger.db") as db, pytest.raises(sqlite3.IntegrityError, match="never changed"):
        db.execute("UPDATE bill SET amount = 0")
    db.close()


def test_the_ledger_is_bounded(ledger: SqliteLedger) -> None:
    """Facts go after 35 days, final bills after 1,100; what was paid in all stays known."""
    ledger.record("shop", two_days())
    accounts(ledger, 5).settle("shop")
    assert accounts(ledger, 30).trim() == 0
    assert accounts(ledger, 40).trim() == len(two_days())
    assert (ledger.size().facts, ledger.size().bills) == (0, 2)
    assert accounts(ledger, 1_200).trim() == 2
    assert ledger.paid("shop") == {"c": 400}


def test_the_position_of_a_reader_is_kept_with_the_facts(ledger: SqliteLedger, tmp_path: Path) -> None:
    """Another process continues where the last record ended."""
    assert ledger.place("shop", "events") == LogPlace()
    ledger.record("shop", [impression(0)], "events", LogPlace("page 2", 7.0))
    other = SqliteLedger(tmp_path)
    assert (other.place("shop", "events"), other.place("other", "events")) == (LogPlace("page 2", 7.0), LogPlace())
    other.close()
