"""The table that demand is learned from: what was shown and bought, by product, price list, period and price."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from services.pricing.learning.counting import Counts
from services.pricing.learning.facts import ListedProduct, ShownOffer

_EPOCH = date(1970, 1, 1).toordinal()
# The clocks of all time zones differ by whole quarters of an hour.
QUARTER_S = 900
DAY_S = 86_400


@dataclass(frozen=True)
class PeriodCounts:
    """One row: a product, a day and an offer in it. `day`: days since the epoch. See Counts for what is counted.

    `competitor`: the lowest price of the day at a competitor, in minor units of the offer's currency; 0: none is known.
    """

    product: ListedProduct
    day: int
    offer: ShownOffer | None
    counts: Counts
    competitor: int = 0

    @property
    def key(self) -> tuple[Any, ...]:
        offer = self.offer
        of_price = (offer.price_list_id, offer.currency, offer.price, offer.list_price) if offer else ("", "", 0, 0)
        return (self.day, self.product.product_id, *of_price)


@dataclass(frozen=True)
class Periods:
    """Columns of n rows, in the order of day, product, price list and price. A period is a day of the time zone.

    A product has a row for each price that was shown in a period, so usually one. `price`, `list_price` and `revenue`
    are in minor units of `currency`; where the price is not known, the currency is empty and they are 0. The category
    is a path, for example "Shoes > Boots"; it and the brand are empty where the catalogue has none.

    `views` [impressions], `in_stock` [share of the views, NaN without one], `visitors`, `clicks`, `carts` and `buyers`
    [persons, each once], `exposure` [persons, see Counts], `units`, `returned_units` and `unjoined_units` [pieces].
    `competitor`: see PeriodCounts.
    """

    day: npt.NDArray[np.datetime64]
    product_id: Sequence[str]
    category: Sequence[str]
    brand: Sequence[str]
    price_list_id: Sequence[str]
    currency: Sequence[str]
    price: npt.NDArray[np.int64]
    list_price: npt.NDArray[np.int64]
    is_sale: npt.NDArray[np.bool_]
    views: npt.NDArray[np.int64]
    in_stock: npt.NDArray[np.float64]
    visitors: npt.NDArray[np.int64]
    exposure: npt.NDArray[np.float64]
    clicks: npt.NDArray[np.int64]
    carts: npt.NDArray[np.int64]
    buyers: npt.NDArray[np.int64]
    units: npt.NDArray[np.int64]
    revenue: npt.NDArray[np.int64]
    returned_units: npt.NDArray[np.int64]
    unjoined_units: npt.NDArray[np.int64]
    competitor: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.product_id)

    @classmethod
    def of(cls, rows: Iterable[PeriodCounts]) -> Periods:
        ordered = sorted(rows, key=lambda row: row.key)
        offers = [row.offer or _UNKNOWN for row in ordered]
        counts = [row.counts for row in ordered]

        def column(name: str) -> npt.NDArray[np.int64]:
            return np.array([getattr(each, name) for each in counts], np.int64)

        views = column("views")
        return cls(
            np.array([row.day for row in ordered], np.int64).astype("datetime64[D]"),
            [row.product.product_id for row in ordered], [row.product.category for row in ordered],
            [row.product.brand for row in ordered], [offer.price_list_id for offer in offers],
            [offer.currency for offer in offers], np.array([offer.price for offer in offers], np.int64),
            np.array([offer.list_price for offer in offers], np.int64),
            np.array([each.is_sale for each in counts], np.bool_), views,
            np.where(views > 0, column("stocked_views") / np.maximum(views, 1), np.nan), column("visitors"),
            np.array([each.exposure for each in counts], np.float64), column("clicks"), column("carts"),
            column("buyers"), column("units"), column("revenue"), column("returned_units"), column("unjoined_units"),
            np.array([row.competitor for row in ordered], np.int64),
        )  # fmt: skip


_UNKNOWN = ShownOffer("", "", 0, 0)


def calendar(time_zone: str) -> Callable[[float], int]:
    """From a time to its day: days since the epoch, by the calendar of the time zone (IANA, for example
    "Europe/Oslo").
    """
    zone = ZoneInfo(time_zone)

    @lru_cache(100_000)
    def day_of_quarter(quarter: int) -> int:
        return datetime.fromtimestamp(quarter * QUARTER_S, zone).toordinal() - _EPOCH

    return lambda time_s: day_of_quarter(int(time_s // QUARTER_S))


def day_number(day: date) -> int:
    """Days since the epoch."""
    return day.toordinal() - _EPOCH
