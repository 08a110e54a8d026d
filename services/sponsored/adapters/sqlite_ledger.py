"""The ledger in one SQLite file. Bills are final: triggers refuse their change."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from services.common.merchandising import Validity
from services.common.sqlite_errors import sqlite_errors, sqlite_transaction
from services.sponsored.domain.billing import DailyBill
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.facts import Click, Fact, Facts, Impression, Purchase
from services.sponsored.domain.invalid_clicks import Verdict
from services.sponsored.ports import LedgerSize

# Rows that are removed in one transaction: a writer waits some 10 ms for it.
_STEP = 2_000
_SCHEMA = """
CREATE TABLE IF NOT EXISTS impression (
    tenant TEXT, ranking_id TEXT, item_id TEXT, campaign_id TEXT, price INTEGER, expected_clicks REAL, person_id TEXT,
    shown_s REAL, PRIMARY KEY (tenant, ranking_id, item_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS impression_by_time ON impression (tenant, shown_s);
CREATE TABLE IF NOT EXISTS click (
    tenant TEXT, event_id TEXT, ranking_id TEXT, item_id TEXT, person_id TEXT, occurred_s REAL,
    PRIMARY KEY (tenant, event_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS click_of_impression ON click (tenant, ranking_id, item_id);
CREATE INDEX IF NOT EXISTS click_by_time ON click (occurred_s);
CREATE TABLE IF NOT EXISTS purchase (
    tenant TEXT, event_id TEXT, person_id TEXT, item_id TEXT, amount INTEGER, occurred_s REAL,
    PRIMARY KEY (tenant, event_id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS purchase_by_time ON purchase (tenant, occurred_s);
CREATE TABLE IF NOT EXISTS campaign (
    tenant TEXT, id TEXT, terms TEXT, kept_s REAL, PRIMARY KEY (tenant, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS position (tenant TEXT, log TEXT, token TEXT, PRIMARY KEY (tenant, log)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (tenant TEXT PRIMARY KEY, until TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS paid (tenant TEXT, campaign_id TEXT, amount INTEGER, PRIMARY KEY (tenant, campaign_id))
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bill (
    tenant TEXT, campaign_id TEXT, day TEXT, impressions INTEGER, clicks INTEGER, value INTEGER, amount INTEGER,
    refused TEXT, PRIMARY KEY (tenant, campaign_id, day)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bill_by_day ON bill (day);
CREATE TRIGGER IF NOT EXISTS a_bill_is_final BEFORE UPDATE ON bill
    BEGIN SELECT RAISE(ABORT, 'a final bill is never changed'); END;
"""
# Of two impressions with one key the cheaper one stays, as in Facts.add.
_IMPRESSION = """
INSERT INTO impression VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
    campaign_id = excluded.campaign_id, price = excluded.price, expected_clicks = excluded.expected_clicks,
    person_id = excluded.person_id, shown_s = excluded.shown_s
WHERE (excluded.price, excluded.shown_s) < (price, shown_s)
"""
_CLICKS_OF = """
SELECT event_id, ranking_id, item_id, click.person_id, occurred_s
FROM impression CROSS JOIN click USING (tenant, ranking_id, item_id)
WHERE tenant = ? AND shown_s >= ? AND shown_s < ?
"""
_OLD_FACTS = (
    "DELETE FROM impression WHERE (tenant, ranking_id, item_id) IN "
    "(SELECT tenant, ranking_id, item_id FROM impression WHERE shown_s < ? LIMIT ?)",
    "DELETE FROM click WHERE (tenant, event_id) IN (SELECT tenant, event_id FROM click WHERE occurred_s < ? LIMIT ?)",
    "DELETE FROM purchase WHERE (tenant, event_id) IN "
    "(SELECT tenant, event_id FROM purchase WHERE occurred_s < ? LIMIT ?)",
)
_OLD_BILLS = (
    "DELETE FROM bill WHERE (tenant, campaign_id, day) IN "
    "(SELECT tenant, campaign_id, day FROM bill WHERE day < ? LIMIT ?)"
)


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
        with self._lock:
            self._db.executescript(_SCHEMA)

    def record(self, tenant: str, facts: Iterable[Fact], positions: Mapping[str, str] | None = None) -> None:
        with self._transaction():
            for fact in facts:
                match fact:
                    case Impression():
                        row = (
                            tenant, fact.ranking_id, fact.item_id, fact.campaign_id, fact.price, fact.expected_clicks,
                            fact.person_id, fact.shown_s,
                        )  # fmt: skip
                        self._db.execute(_IMPRESSION, row)
                    case Click():
                        click = (
                            tenant, fact.event_id, fact.ranking_id, fact.item_id, fact.person_id, fact.occurred_s,
                        )  # fmt: skip
                        self._db.execute("INSERT OR IGNORE INTO click VALUES (?, ?, ?, ?, ?, ?)", click)
                    case Purchase():
                        purchase = (
                            tenant, fact.event_id, fact.person_id, fact.item_id, fact.amount, fact.occurred_s,
                        )  # fmt: skip
                        self._db.execute("INSERT OR IGNORE INTO purchase VALUES (?, ?, ?, ?, ?, ?)", purchase)
            for log, token in (positions or {}).items():
                self._db.execute("INSERT OR REPLACE INTO position VALUES (?, ?, ?)", (tenant, log, token))

    def position(self, tenant: str, log: str) -> str:
        found = self._read("SELECT token FROM position WHERE tenant = ? AND log = ?", tenant, log)
        return str(found[0][0]) if found else ""

    def facts(self, tenant: str, from_s: float, until_s: float) -> Facts:
        period, facts = (tenant, from_s, until_s), Facts()
        columns = "ranking_id, item_id, campaign_id, price, expected_clicks, person_id, shown_s"
        rows = self._read(
            f"SELECT {columns} FROM impression WHERE tenant = ? AND shown_s >= ? AND shown_s < ?", *period
        )
        facts.add(Impression(*row) for row in rows)
        facts.add(Click(*row) for row in self._read(_CLICKS_OF, *period))
        columns = "event_id, person_id, item_id, amount, occurred_s"
        rows = self._read(
            f"SELECT {columns} FROM purchase WHERE tenant = ? AND occurred_s >= ? AND occurred_s < ?", *period
        )
        facts.add(Purchase(*row) for row in rows)
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
                    tenant, bill.campaign_id, bill.day.isoformat(), bill.impressions, bill.clicks, bill.value,
                    bill.amount, refused,
                )  # fmt: skip
                self._db.execute("INSERT INTO bill VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
                self._db.execute(
                    "INSERT INTO paid VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
                    (tenant, bill.campaign_id, bill.amount),
                )
            if until > after:
                self._db.execute("INSERT OR REPLACE INTO settled VALUES (?, ?)", (tenant, until.isoformat()))

    def final_bills(self, tenant: str, from_day: date) -> list[DailyBill]:
        columns = "campaign_id, day, impressions, clicks, value, amount, refused"
        order = "ORDER BY campaign_id, day"
        rows = self._read(
            f"SELECT {columns} FROM bill WHERE tenant = ? AND day >= ? {order}", tenant, from_day.isoformat()
        )
        return [_bill(row) for row in rows]

    def paid(self, tenant: str) -> dict[str, int]:
        return dict(self._read("SELECT campaign_id, amount FROM paid WHERE tenant = ?", tenant))

    def keep_campaigns(self, tenant: str, campaigns: Iterable[Campaign], now_s: float) -> None:
        rows = [(tenant, campaign.id, _terms(campaign), now_s) for campaign in campaigns]
        with self._transaction():
            self._db.executemany("INSERT OR REPLACE INTO campaign VALUES (?, ?, ?, ?)", rows)

    def campaigns(self, tenant: str) -> dict[str, Campaign]:
        rows = self._read("SELECT id, terms FROM campaign WHERE tenant = ?", tenant)
        return {id: _campaign(id, json.loads(terms)) for id, terms in rows}

    def trim(self, facts_until_s: float, bills_until: date) -> int:
        with self._transaction():
            self._db.execute("DELETE FROM campaign WHERE kept_s < ?", (facts_until_s,))
        return sum(self._remove(statement, facts_until_s) for statement in _OLD_FACTS) + self._remove(
            _OLD_BILLS, bills_until.isoformat()
        )

    def size(self) -> LedgerSize:
        tables = ("impression", "click", "purchase", "bill")
        *facts, bills = (self._read(f"SELECT COUNT(*) FROM {table}")[0][0] for table in tables)
        return LedgerSize(sum(facts), bills, sum(file.stat().st_size for file in self._folder.glob("ledger.db*")))

    def close(self) -> None:
        with self._lock:
            self._db.close()

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


def _terms(campaign: Campaign) -> str:
    return json.dumps(
        {
            "advertiser": campaign.advertiser, "payer": campaign.payer, "currency": campaign.currency,
            "bid": campaign.bid, "daily_budget": campaign.daily_budget, "total_budget": campaign.total_budget,
            "own_person_ids": sorted(campaign.own_person_ids), "time_zone": campaign.schedule.time_zone,
        }
    )  # fmt: skip


def _campaign(id: str, terms: dict[str, Any]) -> Campaign:
    own, zone = frozenset(terms.pop("own_person_ids")), Validity(time_zone=terms.pop("time_zone"))
    return Campaign(id, product_ids=(), own_person_ids=own, schedule=zone, **terms)


def _bill(row: tuple[Any, ...]) -> DailyBill:
    id, day, impressions, clicks, value, amount, refused = row
    reasons = {Verdict(name): count for name, count in json.loads(refused).items()}
    return DailyBill(id, date.fromisoformat(day), impressions, clicks, value, amount, reasons)
