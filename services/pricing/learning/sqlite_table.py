"""Reads the demand store, from any thread or process, while its writer goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

from services.pricing.domain.competitors import COMPETITOR_DAYS
from services.pricing.learning.counting import Cell, Counts, counts_of, units_left
from services.pricing.learning.facts import Facts, ShownOffer
from services.pricing.learning.joining import joins_of
from services.pricing.learning.periods import PeriodCounts, Periods, calendar, day_number
from services.pricing.learning.settings import LearningSettings
from services.pricing.learning.sqlite_rows import (
    COUNTS,
    DEMAND_FILE,
    check_layout,
    facts,
    offers,
    products,
    seen_prices,
)

_NAMED = "SELECT product FROM impression UNION SELECT product FROM interaction UNION SELECT product FROM period"


def demand_table(settings: LearningSettings, folder: Path) -> DemandTable:
    """What was counted in `folder`. Raises ValueError if nothing was counted yet."""
    return DemandTable(folder, settings.time_zone, settings.window_s, settings.competitor_days)


class DemandTable:
    """`time_zone`: of the periods. `window_s`: the longest time from an impression to its event. Both as the writer's.
    `competitor_days`: how long a competitor's price counts that nobody has observed again.

    Raises ValueError if there is no table in `folder`, also when it is read.
    """

    def __init__(self, folder: Path, time_zone: str, window_s: float, competitor_days: int = COMPETITOR_DAYS) -> None:
        self._file, self._day_of, self._window_s = folder.absolute() / DEMAND_FILE, calendar(time_zone), window_s
        self._competitor_days = competitor_days
        if not self._file.is_file():
            raise ValueError(f"{self._file} does not exist; the price publisher makes it")

    def periods(self, since: date | None = None, product_id: str | None = None) -> Periods:
        """From the period `since` on (None: all that are kept), of all products or of one, as it is now.

        The counts of the last days are computed from their facts: 200,000 take some 3 s.
        """
        with closing(sqlite3.connect(f"{self._file.as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            # All of one moment.
            db.execute("BEGIN")
            check_layout(db)
            return Periods.of(self._rows(db, since, product_id))

    def facts(self) -> Iterator[Facts]:
        """Those that are kept one by one, of one product after the other."""
        with closing(sqlite3.connect(f"{self._file.as_uri()}?mode=ro", uri=True, timeout=10)) as db:
            db.execute("BEGIN")
            check_layout(db)
            known_products, known_offers = products(db), offers(db)
            for (number,) in db.execute(_NAMED).fetchall():
                yield facts(db, number, known_products[number].product_id, known_offers)

    def _rows(self, db: sqlite3.Connection, since: date | None, product_id: str | None) -> Iterator[PeriodCounts]:
        first = -(1 << 62) if since is None else day_number(since)
        known_products, known_offers = products(db), offers(db)
        for (number,) in db.execute(_NAMED).fetchall():
            product = known_products[number]
            if product_id not in (None, product.product_id):
                continue
            found = _closed(db, number, first, known_offers)
            own = facts(db, number, product.product_id, known_offers)
            joins, left = joins_of(own, self._window_s), units_left(own)
            for cell, counts in counts_of(own.impressions, own.interactions, joins, left, self._day_of).items():
                if cell.day >= first:
                    found.setdefault(cell, Counts()).add(counts)
            seen = seen_prices(db, number, self._competitor_days)
            for cell, counts in found.items():
                lowest = seen.lowest(cell.day, cell.offer.currency) if cell.offer else 0
                yield PeriodCounts(product, cell.day, cell.offer, counts, lowest)


def _closed(db: sqlite3.Connection, number: int, first: int, known: dict[int, ShownOffer]) -> dict[Cell, Counts]:
    query = f"SELECT day, offer, {', '.join(COUNTS)} FROM period WHERE product = ? AND day >= ?"
    found = {}
    for day, offer, *values in db.execute(query, (number, first)):
        counts = found[Cell(day, known.get(offer))] = Counts(*values)
        counts.is_sale = bool(counts.is_sale)
    return found
