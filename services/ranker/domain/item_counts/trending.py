"""Items whose popularity rises: the rate of the last day over that of the weeks before it, as a lower bound.

One person counts once for an item and a day, with a click, a cart or a purchase.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.ranker.domain.event import EventType
from services.ranker.domain.item_counts.pairs import DAILY, PersonCounts
from services.ranker.domain.repurchase import day_of

TYPES = frozenset((EventType.CLICK, EventType.CART, EventType.PURCHASE))
DAY_S = 86_400.0
# Persons are counted in parts of a day, so that "the last day" does not begin at midnight.
BUCKET_S = DAY_S / 4
# What the last day is compared with.
WEEKS_DAYS = 27
TREND_S = (WEEKS_DAYS + 1) * DAY_S
# Days of a person for which it is known on which items the person was counted. Events of earlier days do not count.
_DAYS = 3
# Of a normal distribution: nine of ten such days have more persons than the bound says.
_Z = 1.2816
# Persons a day that are added to the rate of the weeks: a new item needs more than one or two persons.
_PRIOR = 1.0


@dataclass
class Trend:
    """Persons of one item by bucket; a bucket is the number of quarters of days since the epoch."""

    buckets: dict[int, int] = field(default_factory=dict)

    def add(self, bucket: int) -> None:
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        oldest = max(self.buckets) - round(TREND_S / BUCKET_S)
        self.buckets = {at: count for at, count in self.buckets.items() if at >= oldest}


def bucket_of(time_s: float) -> int:
    return int(time_s // BUCKET_S)


def is_new(person: PersonCounts, item_id: str, time_s: float) -> bool:
    """Whether the person counts for the item on this day, and notes it."""
    day = day_of(time_s)
    if person.active and day <= max(person.active) - _DAYS:
        return False
    items = person.active.setdefault(day, [])
    for old in [known for known in person.active if known <= max(person.active) - _DAYS]:
        del person.active[old]
    if item_id in items or len(items) >= DAILY:
        return False
    items.append(item_id)
    return True


def trending(trends: Mapping[str, Trend], now_s: float) -> list[tuple[str, float]]:
    """(item, rise) of the items whose rate rises (rise > 1), fastest first."""
    first = bucket_of(now_s - DAY_S)
    recent_days = (now_s - first * BUCKET_S) / DAY_S
    oldest = min((min(trend.buckets) for trend in trends.values() if trend.buckets), default=first)
    # A log that has just begun has no weeks to compare with.
    weeks_days = min(max((first - oldest) * BUCKET_S / DAY_S, 1.0), WEEKS_DAYS)
    rises = {item_id: _rise(trend, first, recent_days, weeks_days) for item_id, trend in trends.items()}
    return sorted(((id, rise) for id, rise in rises.items() if rise > 1), key=lambda pair: (-pair[1], pair[0]))


def _rise(trend: Trend, first: int, recent_days: float, weeks_days: float) -> float:
    recent = _sum(trend, range(first, first + 6))
    before = _sum(trend, range(first - round(WEEKS_DAYS * DAY_S / BUCKET_S), first))
    return lower_bound(recent) / recent_days / (before / weeks_days + _PRIOR)


def _sum(trend: Trend, buckets: Iterable[int]) -> int:
    return sum(trend.buckets.get(bucket, 0) for bucket in buckets)


def lower_bound(count: int) -> float:
    """The 10 % quantile of a gamma distribution of shape `count` (Wilson and Hilferty, 1931): a bound of a rate."""
    if count <= 0:
        return 0.0
    return float(count * max(0.0, 1 - 1 / (9 * count) - _Z / (3 * count**0.5)) ** 3)
