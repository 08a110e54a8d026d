"""Which items are bought repeatedly, learned from the log: Recommend goes on showing them after a purchase."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.ranker.domain.event import HistoryEntry

_DAY_S = 86_400
# For so long after a purchase an item counts as recently purchased.
RECENT_S = 90 * _DAY_S
# The share of an item's buyers who bought it on a second day, from which it counts as bought repeatedly.
AGAIN_SHARE = 0.2
# With about so many buyers, an item's own share counts as much as its category's.
_PRIOR_BUYERS = 20

# (buyers, those of them who bought again) of an item or a category, by its key.
Counts = Mapping[str, tuple[int, int]]


@dataclass(frozen=True)
class BoughtDay:
    """A day on which a person bought an item.

    `position` is that of the first recorded purchase of the day in the log of events, `category` the item's then; empty
    if unknown.
    """

    item_id: str
    day: int
    position: int
    category: str


def day_of(occurred_s: float) -> int:
    """Two purchases on one day are one occasion."""
    return int(occurred_s // _DAY_S)


def item_key(item_id: str) -> str:
    return f"item:{item_id}"


def category_key(category: str) -> str:
    """Of a category whose items' buyers are counted together."""
    return f"category:{category}"


def purchase_counts(days: Iterable[BoughtDay]) -> dict[str, tuple[int, int]]:
    """(buyers, those who bought again) that the days of one person add to the counts, by key.

    The first recorded day of an item counts a buyer, the second one a buyer who bought again.
    """
    counts: dict[str, tuple[int, int]] = {}
    times: dict[str, int] = {}
    for bought in sorted(days, key=lambda day: day.position):
        times[bought.item_id] = time = times.get(bought.item_id, 0) + 1
        if time > 2:
            continue
        for key in purchase_keys(bought.item_id, bought.category):
            buyers, again = counts.get(key, (0, 0))
            counts[key] = (buyers + (time == 1), again + (time == 2))
    return counts


def merged_days(*persons: Iterable[BoughtDay]) -> list[BoughtDay]:
    """The days of several persons as if they were one: each day of an item once, as it was recorded first."""
    first: dict[tuple[str, int], BoughtDay] = {}
    for bought in sorted((day for days in persons for day in days), key=lambda day: day.position):
        first.setdefault((bought.item_id, bought.day), bought)
    return list(first.values())


def purchase_keys(item_id: str, category: str) -> list[str]:
    """The keys under which a purchase is counted: the item, and its category if it is known."""
    return [item_key(item_id), *([category_key(category)] if category else [])]


def recently_purchased(purchases: Sequence[HistoryEntry], counts: Counts, now_s: float) -> tuple[str, ...]:
    """Items that were bought recently and are not bought repeatedly; last bought first, each once."""
    last = {entry.item_id: entry.occurred_s for entry in sorted(purchases, key=lambda entry: entry.occurred_s)}
    return tuple(item_id for item_id in purchased_once(purchases, counts) if now_s - last[item_id] < RECENT_S)


def purchased_once(purchases: Sequence[HistoryEntry], counts: Counts) -> tuple[str, ...]:
    """Items that were bought, however long ago, and are not bought repeatedly; last bought first, each once."""
    newest_first = sorted(purchases, key=lambda entry: (-entry.occurred_s, entry.item_id))
    category_of = {entry.item_id: entry.features.category for entry in newest_first if entry.features is not None}
    days = days_of(purchases)
    return tuple(
        dict.fromkeys(
            entry.item_id
            for entry in newest_first
            if len(days[entry.item_id]) < 2
            and again_share(entry.item_id, category_of.get(entry.item_id, ""), counts) < AGAIN_SHARE
        )
    )


def groups_of(purchases: Sequence[HistoryEntry], item_ids: Collection[str]) -> tuple[str, ...]:
    """The groups of these purchased items, in the order of the purchases; without items that have no group."""
    known = [each.features for each in purchases if each.features is not None and each.item_id in item_ids]
    return tuple(dict.fromkeys(item.group_id for item in known if item.group_id not in ("", item.item_id)))


def days_of(purchases: Sequence[HistoryEntry]) -> dict[str, set[int]]:
    """The days on which each item was bought."""
    days: dict[str, set[int]] = {}
    for entry in purchases:
        days.setdefault(entry.item_id, set()).add(day_of(entry.occurred_s))
    return days


def again_share(item_id: str, category: str, counts: Counts) -> float:
    """The item's share, shrunk towards its category's, which is shrunk towards 0."""
    share = 0.0
    for key in (category_key(category) if category else "", item_key(item_id)):
        buyers, again = counts.get(key, (0, 0))
        share = (again + _PRIOR_BUYERS * share) / (buyers + _PRIOR_BUYERS)
    return share
