"""Facts of the last days and the counts of all periods, in one SQLite file that one process writes.

Facts are kept as they are while more of them may come: the counts of their periods are computed when they are read, so
that the order of arrival changes nothing. What is older is added to the table `period`, and its facts are removed.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import NamedTuple

from services.common.sqlite_errors import sqlite_transaction
from services.pricing.learning.competitors import ObservedPrice
from services.pricing.learning.counting import counts_of, units_left
from services.pricing.learning.facts import Act, Facts, Impression, Interaction, ListedProduct, ShownOffer
from services.pricing.learning.joining import joins_of
from services.pricing.learning.periods import DAY_S, QUARTER_S, calendar
from services.pricing.learning.ports import Bounds, Log
from services.pricing.learning.sqlite_rows import (
    COUNTS,
    DEMAND_FILE,
    NO_OFFER,
    create,
    facts,
    impression_row,
    interaction_row,
    offers,
    products,
)

# Products whose facts are removed in one transaction.
_PRODUCTS = 200
# Beyond a bound on facts, this share of it is kept, so that facts are not removed at every turn.
_KEPT = 0.8
# Empty pages of the file that are given back at once.
_VACUUM_PAGES = 10_000
_TRADES = (Act.PURCHASE, Act.REFUND)
_WITH_OLD_FACTS = """
SELECT product FROM impression WHERE shown_s < ?1 UNION
SELECT product FROM interaction WHERE occurred_s < iif(act IN ('purchase', 'refund'), ?2, ?1)
"""
_ADD = (
    f"INSERT INTO period VALUES (?{', ?' * (len(COUNTS) + 2)}) ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTS if name != "is_sale")
    + ", is_sale = MAX(is_sale, excluded.is_sale)"
)
# What nothing names any more; products only if the catalogue does not have them.
# Of a day the last one counts.
_OBSERVED = (
    "INSERT INTO competitor VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET currency = excluded.currency, "
    "price = excluded.price, is_sold_out = excluded.is_sold_out, observed_s = excluded.observed_s "
    "WHERE excluded.observed_s > observed_s"
)
_FORGET = (
    "DELETE FROM product WHERE listed = 0 AND number NOT IN (SELECT product FROM impression UNION "
    "SELECT product FROM interaction UNION SELECT product FROM period UNION SELECT product FROM competitor)",
    "DELETE FROM offer WHERE number NOT IN (SELECT offer FROM impression UNION "
    "SELECT kept_offer FROM interaction WHERE kept_offer IS NOT NULL UNION SELECT offer FROM period)",
)


class Size(NamedTuple):
    """Rows of the tables."""

    impressions: int
    interactions: int
    periods: int
    competitors: int


class SqliteDemandStore:
    """One process writes `folder`. `time_zone` and `window_s` as of DemandTable.

    Raises ValueError for a file of another layout.
    """

    def __init__(self, folder: Path, time_zone: str, window_s: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._day_of, self._window_s = calendar(time_zone), window_s
        self._db = sqlite3.connect(folder / DEMAND_FILE, timeout=10, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        # What is removed is overwritten: facts hold keys of persons.
        self._db.execute("PRAGMA secure_delete=ON")
        create(self._db)
        self._db.execute("INSERT OR IGNORE INTO setting VALUES ('secret', ?)", (secrets.token_bytes(32),))
        (self._secret,) = self._db.execute("SELECT value FROM setting WHERE name = 'secret'").fetchone()

    def key(self, *texts: str) -> int:
        """A digest of the texts with the store's secret, as a signed number of 64 bits."""
        digest = hashlib.blake2b("\0".join(texts).encode(), digest_size=8, key=self._secret).digest()
        return int.from_bytes(digest, "little", signed=True)

    def place(self, log: Log) -> tuple[str, float]:
        """(page token, time of the last record in seconds) up to which the log was read; ("", 0) at first."""
        found = self._db.execute("SELECT page_token, read_up_to_s FROM place WHERE log = ?", (log.value,)).fetchone()
        return found or ("", 0.0)

    def add(
        self, log: Log, page_token: str, read_up_to_s: float, impressions: Sequence[Impression] = (),
        interactions: Sequence[Interaction] = (),
    ) -> None:  # fmt: skip
        """Stores the facts of a page of the log and the place behind it, or neither. Known facts are left out."""
        with self._transaction():
            numbers = self._product_numbers(
                {*(each.product_id for each in impressions), *(each.product_id for each in interactions)}
            )
            of_offers = self._offer_numbers({each.offer for each in impressions})
            self._db.executemany(
                f"INSERT OR IGNORE INTO impression VALUES (?{', ?' * 9})",
                [impression_row(each, numbers[each.product_id], of_offers[each.offer]) for each in impressions],
            )
            self._db.executemany(
                f"INSERT OR IGNORE INTO interaction VALUES (?{', ?' * 13})",
                [interaction_row(each, numbers[each.product_id]) for each in interactions],
            )
            self._put_place(log, page_token, read_up_to_s)

    def put_products(
        self, listed: Sequence[ListedProduct], page_token: str, *, is_restarted: bool = False,
        observed: Sequence[ObservedPrice] = (),
    ) -> None:  # fmt: skip
        """Stores what the catalogue says, and the place in it. `is_restarted`: it is read from its first product on.

        `observed` are prices of listed products.
        """
        with self._transaction():
            if is_restarted:
                self._db.execute("UPDATE product SET listed = 0")
            self._db.executemany(
                "INSERT INTO product (product_id, category, brand, listed) VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE "
                "SET category = excluded.category, brand = excluded.brand, listed = 1",
                [(each.product_id, each.category, each.brand) for each in listed],
            )
            numbers = self._product_numbers({each.product_id for each in observed})
            self._db.executemany(
                _OBSERVED,
                [
                    (
                        numbers[each.product_id], each.competitor, self._day_of(each.observed_s), each.currency,
                        each.price, each.is_sold_out, each.observed_s,
                    )
                    for each in observed
                ],
            )  # fmt: skip
            self._put_place(Log.CATALOGUE, page_token, 0.0)

    def close_periods(self, bounds: Bounds, now_s: float) -> None:
        """Adds old facts to the counts of their periods and removes them, in steps; removes the oldest periods."""
        traded_until_s = max(
            self._midnight(now_s - bounds.refund_days * DAY_S),
            self._beyond("interaction", "occurred_s", bounds.interactions),
        )
        shown_until_s = max(
            self._midnight(now_s - bounds.open_days * DAY_S),
            self._beyond("impression", "shown_s", bounds.impressions),
            traded_until_s,
        )
        numbers = self._db.execute(_WITH_OLD_FACTS, (shown_until_s, traded_until_s)).fetchall()
        for first in range(0, len(numbers), _PRODUCTS):
            with self._transaction():
                known_products, known_offers = products(self._db), offers(self._db)
                for (number,) in numbers[first : first + _PRODUCTS]:
                    own = facts(self._db, number, known_products[number].product_id, known_offers)
                    self._close_product(number, own, shown_until_s, traded_until_s)
        self._remove_periods(bounds, now_s)

    def unjoined_share(self) -> float:
        """Of the pieces whose purchases are facts: those of which no impression is known. NaN if there are none."""
        known_products, known_offers = products(self._db), offers(self._db)
        units = unjoined = 0
        for (number,) in self._db.execute("SELECT DISTINCT product FROM interaction WHERE act = 'purchase'").fetchall():
            own = facts(self._db, number, known_products[number].product_id, known_offers)
            joins = joins_of(own, self._window_s)
            for key, left in units_left(own).items():
                units += left
                unjoined += 0 if joins[key].is_shown else left
        return unjoined / units if units else math.nan

    def size(self) -> Size:
        return Size(*(self._count(table) for table in ("impression", "interaction", "period", "competitor")))

    def close(self) -> None:
        self._db.close()

    def _close_product(self, number: int, own: Facts, shown_until_s: float, traded_until_s: float) -> None:
        def is_old(event: Interaction) -> bool:
            if event.act is Act.REFUND and event.order in young_orders:
                return False
            return event.occurred_s < (traded_until_s if event.act in _TRADES else shown_until_s)

        # Clocks of a till and of a warehouse differ: the refund of an order may seem older than its purchase.
        bought = (each for each in own.interactions if each.act is Act.PURCHASE and each.order is not None)
        young_orders = {each.order for each in bought if each.occurred_s >= traded_until_s}
        joins, left = joins_of(own, self._window_s), units_left(own)
        old_shown = [each for each in own.impressions if each.shown_s < shown_until_s]
        old_done = [each for each in own.interactions if is_old(each)]
        counts = counts_of(old_shown, old_done, joins, left, self._day_of)
        young = Facts(
            [each for each in own.impressions if each.shown_s >= shown_until_s],
            [each for each in own.interactions if not is_old(each)],
        )
        # Those whose impression goes keep what they were joined to.
        kept = {key: joins[key] for key, join in joins_of(young, self._window_s).items() if join != joins[key]}
        of_offers = self._offer_numbers({cell.offer for cell in counts} | {join.offer for join in kept.values()})
        self._db.executemany(
            _ADD, [(cell.day, number, of_offers[cell.offer], *astuple(added)) for cell, added in counts.items()]
        )
        self._db.executemany(
            "UPDATE interaction SET kept_offer = ?, kept_shown = ? WHERE product = ? AND key = ?",
            [(of_offers[join.offer], join.is_shown, number, key) for key, join in kept.items()],
        )
        self._db.executemany(
            "DELETE FROM impression WHERE product = ? AND page = ?", [(number, each.page) for each in old_shown]
        )
        self._db.executemany(
            "DELETE FROM interaction WHERE product = ? AND key = ?", [(number, each.key) for each in old_done]
        )

    def _remove_periods(self, bounds: Bounds, now_s: float) -> None:
        first = self._first_day("period", bounds, now_s)
        with self._transaction():
            observed_from = self._first_day("competitor", bounds, now_s)
            self._db.execute("DELETE FROM competitor WHERE day < ?", (observed_from,))
            if self._db.execute("DELETE FROM period WHERE day < ?", (first,)).rowcount:
                for statement in _FORGET:
                    self._db.execute(statement)
        # Not `execute`, which takes one step of a statement without columns: a single page.
        self._db.executescript(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")

    def _first_day(self, table: str, bounds: Bounds, now_s: float) -> int:
        """The first day whose rows are kept."""
        first, over = self._day_of(now_s) - bounds.days, self._count(table) - bounds.rows
        if over > 0:
            query = f"SELECT day FROM {table} ORDER BY day LIMIT 1 OFFSET ?"
            first = max(first, self._db.execute(query, (over - 1,)).fetchone()[0] + 1)
        return first

    def _midnight(self, time_s: float) -> float:
        """The start of the day of this time, to a quarter of an hour: days begin at one, in every time zone."""
        day, quarter = self._day_of(time_s), time_s // QUARTER_S
        while self._day_of((quarter - 1) * QUARTER_S) == day:
            quarter -= 1
        return quarter * QUARTER_S

    def _beyond(self, table: str, column: str, most: int) -> float:
        """The time before which facts must go, so that there are not more than `most`."""
        count = self._count(table)
        if count <= most:
            return -math.inf
        query = f"SELECT {column} FROM {table} ORDER BY {column} LIMIT 1 OFFSET ?"
        (time_s,) = self._db.execute(query, (count - int(most * _KEPT),)).fetchone()
        return float(time_s)

    def _count(self, table: str) -> int:
        (count,) = self._db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
        return int(count)

    def _product_numbers(self, product_ids: Iterable[str]) -> dict[str, int]:
        ids = [(product_id,) for product_id in product_ids]
        self._db.executemany("INSERT OR IGNORE INTO product (product_id) VALUES (?)", ids)
        query = "SELECT number FROM product WHERE product_id = ?"
        return {product_id: self._db.execute(query, (product_id,)).fetchone()[0] for (product_id,) in ids}

    def _offer_numbers(self, named: Iterable[ShownOffer | None]) -> dict[ShownOffer | None, int]:
        found: dict[ShownOffer | None, int] = {None: NO_OFFER}
        where = "price_list_id = ? AND currency = ? AND price = ? AND list_price = ?"
        for offer in named:
            if offer is not None:
                values = (offer.price_list_id, offer.currency, offer.price, offer.list_price)
                self._db.execute("INSERT OR IGNORE INTO offer VALUES (NULL, ?, ?, ?, ?)", values)
                found[offer] = self._db.execute(f"SELECT number FROM offer WHERE {where}", values).fetchone()[0]
        return found

    def _put_place(self, log: Log, page_token: str, read_up_to_s: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO place VALUES (?, ?, ?)", (log.value, page_token, read_up_to_s))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with sqlite_transaction(self._db, "the demand store"):
            yield
