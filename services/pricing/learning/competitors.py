"""What competitors have asked for a product, day by day."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class ObservedPrice:
    """`price` in minor units. `is_sold_out`: the competitor had none of the product."""

    product_id: str
    competitor: str
    observed_s: float
    currency: str
    price: int
    is_sold_out: bool = False


class SeenPrice(NamedTuple):
    """The last one of a day, in days since the epoch."""

    competitor: str
    day: int
    currency: str
    price: int
    is_sold_out: bool


class SeenPrices:
    """Of one product. A price counts until the competitor's next one, `days` at most."""

    def __init__(self, seen: Iterable[SeenPrice], days: int) -> None:
        self._days = days
        self._by_competitor = defaultdict[str, list[SeenPrice]](list)
        for each in sorted(seen):
            self._by_competitor[each.competitor].append(each)

    def lowest(self, day: int, currency: str) -> int:
        """The lowest price of the day that a shopper could buy at, in minor units; 0: none is known."""
        latest = (
            prices[at - 1]
            for prices in self._by_competitor.values()
            if (at := bisect_right(prices, day, key=lambda each: each.day))
        )
        counted = (each for each in latest if each.day > day - self._days)
        return min((each.price for each in counted if not each.is_sold_out and each.currency == currency), default=0)
