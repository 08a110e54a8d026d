"""The ledger in one SQLite file. Bills are final: triggers refuse their change."""

from __future__ import annotations

import hashlib
import json
import math
import secrets
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any, TypeVar

from services.common.merchandising import Validity
from services.common.sqlite_errors import sqlite_errors, sqlite_transaction
from services.sponsored.domain.billing import DailyBill
from services.sponsored.domain.campaign import BudgetChange, Campaign
from services.sponsored.domain.facts import Click, Fact, Facts, Impression, Purchase, Refund
from services.sponsored.domain.invalid_clicks import Verdict
from services.sponsored.ports import LedgerSize, LogPlace

# Rows that are removed in one transaction: a writer waits some 10 ms for it.
_STEP = 2_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS impression (
    tenant TEXT, ranking_id TEXT, item_id TEXT, campaign_id TEXT, price INTEGER, expected_clicks REAL, person_id TEXT,
    shown_s REAL, currency TEXT, PRIMARY KEY (tenant, ranking_id, item_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS impression_by_time ON impression (tenant, shown_s);
CREATE TABLE IF NOT EXISTS click (
    tenant TEXT, event_id TEXT, ranking_id TEXT, item_id TEXT, person_id TEXT, occurred_s REAL,
    PRIMARY KEY (tenant, event_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS click_of_impression ON click (tenant, ranking_id, item_id);
CREATE INDEX IF NOT EXISTS click_by_time ON click (occurred_s);
CREATE TABLE IF NOT EXISTS purchase (
    tenant TEXT, event_id TEXT, person_id TEXT, item_id TEXT, price INTEGER, occurred_s REAL, currency TEXT,
    quantity INTEGER, order_id TEXT, PRIMARY KEY (tenant, event_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS purchase_by_time ON purchase (tenant, occurred_s);
CREATE TABLE IF NOT EXISTS refund (
    tenant TEXT, event_id TEXT, person_id TEXT, item_id TEXT, occurred_s REAL, quantity INTEGER, order_id TEXT,
    PRIMARY KEY (tenant, event_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS refund_by_time ON refund (tenant, occurred_s);
-- How often facts of a day were added. The day of impressions in UTC, since 1970; the one before it: of trades.
CREATE TABLE IF NOT EXISTS change (
    tenant TEXT, day INTEGER, number INTEGER, PRIMARY KEY (tenant, day)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS budget (
    tenant TEXT, campaign_id TEXT, day TEXT, greatest INTEGER, last INTEGER, PRIMARY KEY (tenant, campaign_id, day))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS brand (
    tenant TEXT, item_id TEXT, brand TEXT, kept_s REAL, PRIMARY KEY (tenant, item_id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS campaign (
    tenant TEXT, id TEXT, terms TEXT, kept_s REAL, PRIMARY KEY (tenant, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (
    tenant TEXT, log TEXT, token TEXT, read_up_to_s REAL, PRIMARY KEY (tenant, log)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS secret (value BLOB);
CREATE TABLE IF NOT EXISTS settled (tenant TEXT PRIMARY KEY, until TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS paid (tenant TEXT, campaign_id TEXT, amount INTEGER, PRIMARY KEY (tenant, campaign_id))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bill (
    tenant TEXT, campaign_id TEXT, day TEXT, currency TEXT, impressions INTEGER, clicks INTEGER, value INTEGER,
    amount INTEGER, refused TEXT, PRIMARY KEY (tenant, campaign_id, day)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bill_by_day ON bill (day);
CREATE TRIGGER IF NOT EXISTS a_bill_is_final BEFORE UPDATE ON bill
    BEGIN SELECT RAISE(ABORT, 'a final bill is never changed'); END;
"""
# Of two impressions with one key the cheaper one stays, as in Facts.add.
_IMPRESSION = """
INSERT INTO impression VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    campaign_id = excluded.campaign_id, price = excluded.price, expected_clicks = excluded.expected_clicks,
    person_id = excluded.person_id, shown_s = excluded.shown_s, currency = excluded.currency
WHERE (excluded.price, excluded.shown_s) < (price, shown_s)
RETURNING 1
"""
_SHOWN = "SELECT shown_s FROM impression WHERE tenant = ? AND ranking_id = ? AND item_id = ?"
_CHANGED = """
INSERT INTO change VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET number = number + 1
"""
# Without the name of the index SQLite looks through all clicks of the tenant for each impression.
_CLICKS_OF = """
SELECT event_id, ranking_id, item_id, click.person_id, occurred_s
FROM impression CROSS JOIN click INDEXED BY click_of_impression USING (tenant, ranking_id, item_id)
WHERE tenant = ? AND shown_s >= ? AND shown_s < ?
"""
_TRADES, _DAY_S = -1, 86_400.0
_OLD_FACTS = (
    "DELETE FROM impression WHERE (tenant, ranking_id, item_id) IN "
    "(SELECT tenant, ranking_id, item_id FROM impression WHERE shown_s < ? LIMIT ?)",
    "DELETE FROM click WHERE (tenant, event_id) IN (SELECT tenant, event_id FROM click WHERE occurred_s < ? LIMIT ?)",
    "DELETE FROM purchase WHERE (tenant, event_id) IN "
    "(SELECT tenant, event_id FROM purchase WHERE occurred_s < ? LIMIT ?)",
    "DELETE FROM refund WHERE (tenant, event_id) IN (SELECT tenant, event_id FROM refund WHERE occurred_s < ? LIMIT ?)",
)
_UNKNOWN_CLICKS = (
    "DELETE FROM click WHERE (tenant, event_id) IN (SELECT tenant, event_id FROM click WHERE occurred_s < ? AND NOT "
    "EXISTS (SELECT 1 FROM impression WHERE impression.tenant = click.tenant AND impression.ranking_id = "
    "click.ranking_id AND impression.item_id = click.item_id) LIMIT ?)"
)
_OLD_BILLS = (
    "DELETE FROM bill WHERE (tenant, campaign_id, day) IN "
    "(SELECT tenant, campaign_id, day FROM bill WHERE day < ? LIMIT ?)"
)


_Timed = TypeVar("_Timed", Impression, Purchase, Refund)


class SqliteLedger:
    """See ports.Ledger. What is recorded is on the disk when the call returns. Several processes on one machine may
    share the file.
    """

    def __init__(self, data_dir: Path) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._folder, self._lock = data_dir, threading.Lock()
        self._db = sqlite3.connect(data_dir / "ledger.db", timeout=10, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        # What is removed is overwritten: facts hold keys of persons.
        self._db.execute("PRAGMA secure_delete=ON")
        with self._lock:
            self._db.executescript(_SCHEMA)
        with self._transaction():
            if self._db.execute("SELECT 1 FROM secret").fetchone() is None:
                self._db.execute("INSERT INTO secret VALUES (?)", (secrets.token_bytes(32),))
        self._secret: bytes = self._read("SELECT value FROM secret")[0][0]

    def person(self, id: str) -> str:
        return hashlib.blake2b(id.encode(), digest_size=12, key=self._secret).hexdigest()

    def record(self, tenant: str, facts: Iterable[Fact], log: str = "", place: LogPlace | None = None) -> None:
        with self._transaction():
            changed = {day for fact in facts for day in self._added(tenant, fact)}
            self._db.executemany(_CHANGED, [(tenant, day) for day in changed])
            if place is not None:
                row = tenant, log, place.page_token, place.read_up_to_s
                self._db.execute("INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?)", row)

    def place(self, tenant: str, log: str) -> LogPlace:
        query = "SELECT token, read_up_to_s FROM place WHERE tenant = ? AND log = ?"
        found = self._read(query, tenant, log)
        return LogPlace(*found[0]) if found else LogPlace()

    def days(self, tenant: str) -> dict[int, int]:
        return dict(self._read("SELECT day, number FROM change WHERE tenant = ? AND day <> ?", tenant, _TRADES))

    def trades_number(self, tenant: str) -> int:
        found = self._read("SELECT number FROM change WHERE tenant = ? AND day = ?", tenant, _TRADES)
        return int(found[0][0]) if found else 0

    def facts(self, tenant: str, from_s: float, until_s: float) -> Facts:
        facts = Facts()
        facts.add(self._of_time(tenant, Impression, "impression", "shown_s", from_s, until_s))
        facts.add(Click(*row) for row in self._read(_CLICKS_OF, tenant, from_s, until_s))
        return facts

    def trades(self, tenant: str, from_s: float) -> Facts:
        facts = Facts()
        facts.add(self._of_time(tenant, Purchase, "purchase", "occurred_s", from_s, math.inf))
        facts.add(self._of_time(tenant, Refund, "refund", "occurred_s", from_s, math.inf))
        return facts

    def settled_until(self, tenant: str) -> date:
        found = self._read("SELECT until FROM settled WHERE tenant = ?", tenant)
        return date.fromisoformat(found[0][0]) if found else date.min

    def settle(self, tenant: str, until: date, bills: Sequence[DailyBill]) -> None:
        with self._transaction():
            found = self._db.execute("SELECT until FROM settled WHERE tenant = ?", (tenant,)).fetchone()
            after = date.fromisoformat(found[0]) if found else date.min
            for bill in bills:
                if not after < bill.day <= until:
                    continue
                refused = json.dumps({verdict.value: count for verdict, count in bill.refused.items()})
                row = (
                    tenant, bill.campaign_id, bill.day.isoformat(), bill.currency, bill.impressions, bill.clicks,
                    bill.value, bill.amount, refused,
                )  # fmt: skip
                self._db.execute("INSERT INTO bill VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
                self._db.execute(
                    "INSERT INTO paid VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
                    (tenant, bill.campaign_id, bill.amount),
                )
            if until > after:
                self._db.execute("INSERT OR REPLACE INTO settled VALUES (?, ?)", (tenant, until.isoformat()))

    def final_bills(self, tenant: str, from_day: date) -> list[DailyBill]:
        columns = "campaign_id, day, currency, impressions, clicks, value, amount, refused"
        order = "ORDER BY campaign_id, day"
        rows = self._read(
            f"SELECT {columns} FROM bill WHERE tenant = ? AND day >= ? {order}", tenant, from_day.isoformat()
        )
        return [_bill(row) for row in rows]

    def paid(self, tenant: str) -> dict[str, int]:
        return dict(self._read("SELECT campaign_id, amount FROM paid WHERE tenant = ?", tenant))

    def keep_campaigns(self, tenant: str, campaigns: Iterable[Campaign], now_s: float) -> None:
        rows = [(campaign, (tenant, campaign.id, self._terms(campaign), now_s)) for campaign in campaigns]
        with self._transaction():
            last = self._budgets(tenant)
            for campaign, row in rows:
                self._db.execute("INSERT OR REPLACE INTO campaign VALUES (?, ?, ?, ?)", row)
                today, budget = campaign.day_of(now_s), campaign.daily_budget
                before = last[campaign.id][-1] if campaign.id in last else None
                if before is None or before.last != budget:
                    greatest = (
                        max(budget, before.greatest if before.day >= today else before.last) if before else budget
                    )
                    day = max(today, before.day) if before else today
                    change = tenant, campaign.id, day.isoformat(), greatest, budget
                    self._db.execute("INSERT OR REPLACE INTO budget VALUES (?, ?, ?, ?, ?)", change)

    def campaigns(self, tenant: str) -> dict[str, Campaign]:
        rows = self._read("SELECT id, terms FROM campaign WHERE tenant = ?", tenant)
        with self._lock:
            changes = self._budgets(tenant)
        return {id: _campaign(id, json.loads(terms), changes.get(id, ())) for id, terms in rows}

    def keep_brands(self, tenant: str, brands: Mapping[str, str], now_s: float) -> None:
        with self._transaction():
            rows = [(tenant, item_id, brand, now_s) for item_id, brand in brands.items()]
            self._db.executemany("INSERT OR REPLACE INTO brand VALUES (?, ?, ?, ?)", rows)

    def brands(self, tenant: str) -> dict[str, str]:
        return dict(self._read("SELECT item_id, brand FROM brand WHERE tenant = ?", tenant))

    def trim(self, facts_until_s: float, unknown_until_s: float, bills_until: date) -> int:
        with self._transaction():
            self._db.execute("DELETE FROM campaign WHERE kept_s < ?", (facts_until_s,))
            self._db.execute("DELETE FROM brand WHERE kept_s < ?", (facts_until_s,))
            self._db.execute("DELETE FROM change WHERE day >= 0 AND day < ?", (facts_until_s // _DAY_S,))
            forgotten = "(SELECT tenant, id FROM campaign)"
            self._db.execute(f"DELETE FROM budget WHERE (tenant, campaign_id) NOT IN {forgotten}")
        return (
            sum(self._remove(statement, facts_until_s) for statement in _OLD_FACTS)
            + self._remove(_UNKNOWN_CLICKS, unknown_until_s)
            + self._remove(_OLD_BILLS, bills_until.isoformat())
        )

    def size(self) -> LedgerSize:
        tables = ("impression", "click", "purchase", "refund", "bill")
        *facts, bills = (self._read(f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables)
        return LedgerSize(sum(facts), bills, sum(file.stat().st_size for file in self._folder.glob("ledger.db*")))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _added(self, tenant: str, fact: Fact) -> list[int]:
        """The days whose facts it changes; none if it is known."""
        match fact:
            case Impression():
                before = self._db.execute(_SHOWN, (tenant, *fact.key)).fetchone()
                if not self._db.execute(_IMPRESSION, (tenant, *vars(fact).values())).fetchone():
                    return []
                return [int(at_s // _DAY_S) for at_s in (fact.shown_s, *(before or ()))]
            case Click():
                if not self._insert("click", tenant, fact):
                    return []
                shown = self._db.execute(_SHOWN, (tenant, *fact.key)).fetchone()
                return [int(shown[0] // _DAY_S)] if shown else []
            case Purchase():
                return [_TRADES] if self._insert("purchase", tenant, fact) else []
            case Refund():
                return [_TRADES] if self._insert("refund", tenant, fact) else []

    def _of_time(
        self, tenant: str, kind: Callable[..., _Timed], table: str, at: str, from_s: float, until_s: float
    ) -> list[_Timed]:
        columns = ", ".join(field.name for field in fields(kind))  # type: ignore[arg-type]
        query = f"SELECT {columns} FROM {table} WHERE tenant = ? AND {at} >= ? AND {at} < ?"
        return [kind(*row) for row in self._read(query, tenant, from_s, until_s)]

    def _insert(self, table: str, tenant: str, fact: Click | Purchase | Refund) -> bool:
        row = tenant, *vars(fact).values()
        statement = f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})"
        return self._db.execute(statement, row).rowcount > 0

    def _terms(self, campaign: Campaign) -> str:
        return json.dumps(
            {
                "advertiser": campaign.advertiser, "payer": campaign.payer, "currency": campaign.currency,
                "bid": campaign.bid, "daily_budget": campaign.daily_budget, "total_budget": campaign.total_budget,
                "own_person_ids": sorted(map(self.person, campaign.own_person_ids)),
                "time_zone": campaign.schedule.time_zone,
            }
        )  # fmt: skip

    def _budgets(self, tenant: str) -> dict[str, tuple[BudgetChange, ...]]:
        """The changes of each campaign by day. Within a transaction, or with the lock."""
        found: dict[str, tuple[BudgetChange, ...]] = {}
        query = "SELECT campaign_id, day, greatest, last FROM budget WHERE tenant = ? ORDER BY campaign_id, day"
        with sqlite_errors("the ledger"):
            rows = self._db.execute(query, (tenant,)).fetchall()
        for id, day, greatest, last in rows:
            found[id] = (*found.get(id, ()), BudgetChange(date.fromisoformat(day), greatest, last))
        return found

    def _remove(self, statement: str, before: object) -> int:
        removed, last = 0, _STEP
        while last == _STEP:
            with self._transaction():
                last = self._db.execute(statement, (before, _STEP)).rowcount
            removed += last
        return removed

    def _read(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with sqlite_errors("the ledger"), self._lock:
            return self._db.execute(query, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock, sqlite_transaction(self._db, "the ledger"):
            yield


def _campaign(id: str, terms: dict[str, Any], changes: tuple[BudgetChange, ...]) -> Campaign:
    own, zone = frozenset(terms.pop("own_person_ids")), Validity(time_zone=terms.pop("time_zone"))
    return Campaign(id, product_ids=(), own_person_ids=own, schedule=zone, changes=changes, **terms)


def _bill(row: tuple[Any, ...]) -> DailyBill:
    id, day, currency, impressions, clicks, value, amount, refused = row
    reasons = {Verdict(name): count for name, count in json.loads(refused).items()}
    return DailyBill(id, date.fromisoformat(day), currency, impressions, clicks, value, amount, reasons)
