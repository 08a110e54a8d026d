"""The tables of the demand store, and their rows as facts."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from services.pricing.learning.competitors import SeenPrice, SeenPrices
from services.pricing.learning.counting import Counts
from services.pricing.learning.facts import Act, Facts, Impression, Interaction, Join, ListedProduct, Paid, ShownOffer

DEMAND_FILE = "demand.db"
# Of the tables: a file of another layout is refused.
LAYOUT = 1
# Its number in the table `offer`.
NO_OFFER = 0
COUNTS = [each.name for each in fields(Counts)]
# Products and offers are numbered: a fact names each by a few bytes. Offer 0 is no offer. `listed`: the catalogue named
# the product since it was read from its start. `kept_shown` NULL: the interaction is joined when it is read.
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS place (log TEXT PRIMARY KEY, page_token TEXT, read_up_to_s REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS product (
    number INTEGER PRIMARY KEY, product_id TEXT UNIQUE, category TEXT NOT NULL DEFAULT '',
    brand TEXT NOT NULL DEFAULT '', listed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS offer (
    number INTEGER PRIMARY KEY, price_list_id TEXT, currency TEXT, price INTEGER, list_price INTEGER,
    UNIQUE (price_list_id, currency, price, list_price));
CREATE TABLE IF NOT EXISTS impression (
    product INTEGER, page INTEGER, person INTEGER, visitor INTEGER, shown_s REAL, position INTEGER, offer INTEGER,
    quote INTEGER, in_stock INTEGER, is_sale INTEGER, PRIMARY KEY (product, page)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS impression_by_time ON impression (shown_s);
CREATE TABLE IF NOT EXISTS interaction (
    product INTEGER, key INTEGER, act TEXT, person INTEGER, visitor INTEGER, occurred_s REAL, page INTEGER,
    quote INTEGER, order_key INTEGER, quantity INTEGER, currency TEXT, paid INTEGER, kept_offer INTEGER,
    kept_shown INTEGER, PRIMARY KEY (product, key)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS interaction_by_time ON interaction (occurred_s);
CREATE TABLE IF NOT EXISTS period (
    day INTEGER, product INTEGER, offer INTEGER, {", ".join(f"{name} NOT NULL" for name in COUNTS)},
    PRIMARY KEY (day, product, offer)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS period_of_product ON period (product, day);
CREATE TABLE IF NOT EXISTS competitor (
    product INTEGER, competitor TEXT, day INTEGER, currency TEXT, price INTEGER, is_sold_out INTEGER, observed_s REAL,
    PRIMARY KEY (product, competitor, day)) WITHOUT ROWID;
"""


def create(db: sqlite3.Connection) -> None:
    """Raises ValueError for a file of another layout."""
    (layout,) = db.execute("PRAGMA user_version").fetchone()
    if layout not in (0, LAYOUT):
        raise ValueError(
            f"{DEMAND_FILE} has layout {layout}, this Kairos reads {LAYOUT}; move the file away, and what the log "
            "still has is counted again"
        )
    db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={LAYOUT}; COMMIT;")


def check_layout(db: sqlite3.Connection) -> None:
    """Raises ValueError if the file has no tables yet, or those of another layout."""
    has_all = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'competitor'").fetchone()
    if db.execute("PRAGMA user_version").fetchone() != (LAYOUT,) or not has_all:
        raise ValueError(
            f"{DEMAND_FILE} has no tables of layout {LAYOUT}; the price publisher of this version makes them"
        )


def seen_prices(db: sqlite3.Connection, number: int, days: int) -> SeenPrices:
    """Of one product."""
    rows = db.execute(
        "SELECT competitor, day, currency, price, is_sold_out FROM competitor WHERE product = ?", (number,)
    )
    return SeenPrices((SeenPrice(*row) for row in rows), days)


def products(db: sqlite3.Connection) -> dict[int, ListedProduct]:
    rows = db.execute("SELECT number, product_id, category, brand FROM product")
    return {number: ListedProduct(*row) for number, *row in rows}


def offers(db: sqlite3.Connection) -> dict[int, ShownOffer]:
    rows = db.execute("SELECT number, price_list_id, currency, price, list_price FROM offer")
    return {number: ShownOffer(*row) for number, *row in rows}


def facts(db: sqlite3.Connection, number: int, product_id: str, known: Mapping[int, ShownOffer]) -> Facts:
    """Of one product. `known`: see `offers`."""
    shown = db.execute(
        "SELECT page, person, visitor, shown_s, position, offer, quote, in_stock, is_sale FROM impression "
        "WHERE product = ?", (number,),
    )  # fmt: skip
    done = db.execute(
        "SELECT key, act, person, visitor, occurred_s, page, quote, order_key, quantity, currency, paid, kept_offer, "
        "kept_shown FROM interaction WHERE product = ?", (number,),
    )  # fmt: skip
    return Facts(
        [
            Impression(
                page, product_id, person, visitor, shown_s, position, known.get(offer), quote, bool(in_stock),
                bool(is_sale),
            )
            for page, person, visitor, shown_s, position, offer, quote, in_stock, is_sale in shown
        ],
        [_interaction(product_id, known, *row) for row in done],
    )  # fmt: skip


def impression_row(one: Impression, product: int, offer: int) -> tuple[Any, ...]:
    return (
        product, one.page, one.person, one.visitor, one.shown_s, one.position, offer, one.quote, one.in_stock,
        one.is_sale,
    )  # fmt: skip


def interaction_row(event: Interaction, product: int) -> tuple[Any, ...]:
    paid = event.paid or Paid("", 0)
    return (
        product, event.key, event.act.value, event.person, event.visitor, event.occurred_s, event.page, event.quote,
        event.order, event.quantity, paid.currency, paid.amount, None, None,
    )  # fmt: skip


def _interaction(product_id: str, known: Mapping[int, ShownOffer], *row: Any) -> Interaction:
    key, act, person, visitor, occurred_s, page, quote, order, quantity, currency, paid, kept_offer, kept_shown = row
    return Interaction(
        key, Act(act), product_id, person, visitor, occurred_s, page, quote, order, quantity,
        Paid(currency, paid) if currency else None,
        None if kept_shown is None else Join(known.get(kept_offer), bool(kept_shown)),
    )  # fmt: skip
