"""Pages of all matches in a total order: by the sort's value, then products without it, equal ones by key.

Cursors name a place in that order (services/retrieval/domain/cursor.py). A page costs one pass over the matches, not
their sorting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.common.filters import SortOrder
from services.retrieval.domain.catalogue.effective import EffectiveOffers
from services.retrieval.domain.catalogue.growing import KeyArray, RowArray
from services.retrieval.domain.catalogue.table import Table
from services.retrieval.domain.cursor import Position


@dataclass(frozen=True)
class RowPage:
    """`rows` in order. `next`: the place behind the last one, None on the last page."""

    rows: RowArray
    next: Position | None


def order_values(table: Table, rows: RowArray, sort: SortOrder, offers: EffectiveOffers) -> npt.NDArray[np.float64]:
    """What the rows are ordered by, ascending; infinity for rows without the value, and all 0 without a sort."""
    if sort is SortOrder.RELEVANCE:
        return np.zeros(len(rows))
    if sort is SortOrder.NEWEST:
        created = table.created.view.take(rows)
        return np.where(created == 0, np.inf, -created.astype(np.float64))
    prices = offers.prices.take(rows)
    ascending = prices if sort is SortOrder.PRICE_ASCENDING else -prices
    return np.where(np.isnan(prices), np.inf, ascending)


def page_of(
    table: Table, rows: RowArray, sort: SortOrder, after: Position | None, limit: int, offers: EffectiveOffers
) -> RowPage:
    """The first `limit` of `rows`, which may be in any order, behind `after`."""
    values, keys = order_values(table, rows, sort, offers), table.keys.view.take(rows)
    if after is not None:
        value = _ascending(sort, after.value)
        behind = np.flatnonzero((values > value) | ((values == value) & (keys > np.uint64(after.key))))
        rows, values, keys = rows.take(behind), values.take(behind), keys.take(behind)
    chosen = _first(values, keys, limit + 1)
    page = rows.take(chosen[:limit])
    if len(chosen) <= limit:
        return RowPage(page, None)
    last = chosen[limit - 1]
    return RowPage(page, Position(_shown(sort, float(values[last])), int(keys[last])))


def _first(values: npt.NDArray[np.float64], keys: KeyArray, count: int) -> RowArray:
    """The places of the first `count` by value and key, in order."""
    if len(values) > count:
        highest = np.partition(values, count - 1)[count - 1]
        before, equal = np.flatnonzero(values < highest), np.flatnonzero(values == highest)
        wanted = count - len(before)
        if len(equal) > wanted:
            equal = equal.take(np.argpartition(keys.take(equal), wanted - 1)[:wanted])
        places = np.concatenate([before, equal])
    else:
        places = np.arange(len(values))
    return places.take(np.lexsort((keys.take(places), values.take(places))))


def _ascending(sort: SortOrder, value: float | None) -> float:
    """A position's value as `order_values` has it."""
    if sort is SortOrder.RELEVANCE:
        return 0.0
    if value is None:
        return np.inf
    return value if sort is SortOrder.PRICE_ASCENDING else -value


def _shown(sort: SortOrder, value: float) -> float | None:
    """The reverse of `_ascending`."""
    if sort is SortOrder.RELEVANCE or value == np.inf:
        return None
    return value if sort is SortOrder.PRICE_ASCENDING else -value
