"""How a shop's prices and those of its competitors have gone together, product by product."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from services.common.money import MINOR_UNIT_DECIMALS
from services.pricing.domain.collusion import Collusion, signs_of_collusion
from services.pricing.domain.demand.observations import Floats, Observations
from services.pricing.learning.periods import Periods
from services.pricing.learning.prices import Learned

# Best responses are looked for among so many prices, from the one share of the shop's price to the other.
_STEPS, _LOWEST, _HIGHEST = 101, 0.5, 1.5


def competition(periods: Periods, learned: Learned, costs: Mapping[str, float]) -> dict[str, Collusion]:
    """By product, in the default price list, over the days on which it was shown while a competitor's price was known.

    `costs`: in the currency of the prices; without one the best response is that for the revenue.
    """
    found = {}
    for product_id, rows in _rows_by_product(periods).items():
        if (product_id, "") in learned.competitors:
            days, own, other, listed = _by_day(periods, rows)
            best = _best_responses(learned, product_id, days[1:], other[:-1], listed[1:], costs.get(product_id, 0.0))
            found[product_id] = signs_of_collusion(own[1:], other[1:], best)
    return found


def _rows_by_product(periods: Periods) -> dict[str, list[int]]:
    rows = defaultdict[str, list[int]](list)
    is_used = (periods.competitor > 0) & (periods.price > 0) & (periods.exposure > 0)
    for row in np.flatnonzero(is_used).tolist():
        if not periods.price_list_id[row]:
            rows[periods.product_id[row]].append(row)
    return rows


def _by_day(periods: Periods, rows: Sequence[int]) -> tuple[Floats, Floats, Floats, Floats]:
    """Days, prices, prices of the competitor and list prices, means of each day by exposure."""
    days, index = np.unique(periods.day[rows].astype(np.int64), return_inverse=True)
    scales = np.array([10.0 ** MINOR_UNIT_DECIMALS[periods.currency[row]] for row in rows])
    weight = periods.exposure[rows]
    total = np.bincount(index, weight)
    price, other, listed = (
        np.bincount(index, weight * column[rows] / scales) / total
        for column in (periods.price, periods.competitor, periods.list_price)
    )
    return days.astype(np.float64), price, other, listed


def _best_responses(
    learned: Learned, product_id: str, days: Floats, other: Floats, listed: Floats, cost: float
) -> Floats:  # fmt: skip
    """[days], to the competitor's price of the day before."""
    if not len(days):
        return np.zeros(0)
    key, model = (product_id, ""), learned.model
    rows = Observations.of(
        np.full(len(days), model.index_of[key]), days, listed, 0.0, competitor=other / learned.competitors[key]
    )
    prices = listed[:, None] * np.linspace(_LOWEST, _HIGHEST, _STEPS)
    value = (prices - cost) * model.forecast(rows).units(prices)
    return np.asarray(prices[np.arange(len(days)), value.argmax(axis=1)])
