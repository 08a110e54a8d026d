"""Prices that were observed at competitors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.common.money import Money

# How long a price counts that nobody has observed again.
COMPETITOR_DAYS = 3


@dataclass(frozen=True)
class CompetitorPrice:
    """`observed_s`: in seconds since the epoch. `is_sold_out`: the competitor had none of the product."""

    price: Money
    observed_s: float
    is_sold_out: bool = False


def lowest_by_currency(seen: Iterable[CompetitorPrice], observed_from_s: float) -> dict[str, Money]:
    """The lowest prices that a shopper could buy at, observed after `observed_from_s`."""
    lowest = dict[str, Money]()
    for each in seen:
        if not each.is_sold_out and each.observed_s > observed_from_s:
            other = lowest.setdefault(each.price.currency, each.price)
            lowest[each.price.currency] = min(other, each.price, key=lambda price: price.amount)
    return lowest
