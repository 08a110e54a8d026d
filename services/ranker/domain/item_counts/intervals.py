"""The time between two purchases of an item by one person, and the items that a person is due to buy again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from services.ranker.domain.event import Event, HistoryEntry
from services.ranker.domain.repurchase import (
    AGAIN_SHARE,
    Counts,
    again_share,
    category_key,
    day_of,
    days_of,
    item_key,
)

# Of an item of which nothing is known.
_DEFAULT_DAYS = 30.0
# So many intervals of an item, or of a category, count as much as what is known without them.
_PRIOR = 5
# The same for a person's own intervals: two of them say more than those of all others.
_OWN_PRIOR = 0.5
# Shares of the interval since the last purchase, from which an item is due, and after which it is not bought any more.
DUE, LAPSED = 0.8, 6.0
_DAY_S = 86_400.0


class Interval(NamedTuple):
    """Of an item or a category: the number of intervals, and the sum of the logarithms of their days."""

    number: int = 0
    log_days: float = 0.0

    def plus(self, days: int) -> Interval:
        return Interval(self.number + 1, self.log_days + math.log(days))

    def mean(self, otherwise: float, prior: float = _PRIOR) -> float:
        """Of the logarithms, shrunk towards `otherwise`."""
        return (self.log_days + prior * otherwise) / (self.number + prior)


def interval_ended_by(purchase: Event, purchases: Sequence[HistoryEntry]) -> int | None:
    """Days since the person's purchase of the item before this one. None for a first one, or a second one of a day.

    `purchases` are the person's, this one among them or not.
    """
    day = day_of(purchase.occurred_s)
    same = [entry for entry in purchases if entry.item_id == purchase.item_id and entry.event_id != purchase.event_id]
    if any(
        day_of(entry.occurred_s) == day
        and (entry.occurred_s, entry.event_id) < (purchase.occurred_s, purchase.event_id)
        for entry in same
    ):
        return None
    before = [day_of(entry.occurred_s) for entry in same if day_of(entry.occurred_s) < day]
    return day - max(before) if before else None


def interval_keys(item_id: str, category: str) -> list[str]:
    return [item_key(item_id), *([category_key(category)] if category else [])]


def due_items(
    purchases: Sequence[HistoryEntry], counts: Counts, intervals: Mapping[str, Interval], now_s: float
) -> list[tuple[str, float]]:
    """(item, share of its interval that has passed), most overdue first.

    Items that the person bought on two days, or that are usually bought repeatedly (domain/repurchase.py). An item that
    is long overdue is left out: it is not bought any more.
    """
    category_of = {entry.item_id: entry.features.category for entry in purchases if entry.features is not None}
    last: dict[str, float] = {}
    for entry in purchases:
        last[entry.item_id] = max(entry.occurred_s, last.get(entry.item_id, entry.occurred_s))
    due = {}
    for item_id, days in days_of(purchases).items():
        category = category_of.get(item_id, "")
        if len(days) < 2 and again_share(item_id, category, counts) < AGAIN_SHARE:
            continue
        share = (now_s - last[item_id]) / _DAY_S / _interval_days(item_id, category, sorted(days), intervals)
        if DUE <= share <= LAPSED:
            due[item_id] = share
    return sorted(due.items(), key=lambda pair: (-pair[1], pair[0]))


def _interval_days(item_id: str, category: str, days: Sequence[int], intervals: Mapping[str, Interval]) -> float:
    """The person's own intervals, shrunk towards the item's, which are shrunk towards the category's."""
    log_days = math.log(_DEFAULT_DAYS)
    for key in reversed(interval_keys(item_id, category)):
        log_days = intervals.get(key, Interval()).mean(log_days)
    own = Interval()
    for earlier, later in pairwise(days):
        own = own.plus(later - earlier)
    return math.exp(own.mean(log_days, _OWN_PRIOR))
