"""Which items a person acted on one after the other: what the person adds to the counts of FOLLOWED.

It is a function of the newest time of each of the person's last items, so events in any order of arrival give the same
counts, and what a person has added can be taken back as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from services.ranker.domain.event import EventType
from services.ranker.domain.item_counts.relations import Change, Pair, Relation, log_mass, pair_of
from services.ranker.domain.repurchase import day_of

TYPES = frozenset((EventType.CLICK, EventType.DWELL, EventType.CART, EventType.PURCHASE))
# Newest items of a person that make pairs. With 50, counting costs several times as much and finds no more.
ITEMS = 20
# The weight of a pair: 1 for two items with none between them, and by this factor less for each item between them.
# Chosen on the same validation as MEASURES: 0.8 and 0.9 are alike, 0.7, 1 and 1/distance are worse.
DISTANCE_DECAY = 0.8
# Seconds since the epoch of the newest event, by item.
Followed = dict[str, float]


def with_event(followed: Followed, item_id: str, time_s: float) -> Followed:
    """With the items of the newest times only."""
    known = followed.get(item_id)
    if known is not None and known >= time_s:
        return followed
    return newest({**followed, item_id: time_s})


def newest(followed: Mapping[str, float]) -> Followed:
    """At most ITEMS, oldest first; equal times by id."""
    return dict(sorted(followed.items(), key=lambda pair: (pair[1], pair[0]))[-ITEMS:])


def changes(before: Followed, after: Followed) -> Iterator[Change]:
    """What a person whose last items were `before`, and are `after`, changes."""
    if before == after:
        return
    old, new = _masses(before), _masses(after)
    for pair in dict.fromkeys([*old, *new]):
        was, now = old.get(pair), new.get(pair)
        if was != now:
            yield Change(pair, was, now)


def _masses(followed: Followed) -> dict[Pair, float]:
    """The log mass of each pair, by the day of the later event, and of each item itself."""
    items = [(item_id, day_of(time_s)) for item_id, time_s in newest(followed).items()]
    found: dict[Pair, float] = {}
    for place, (item_id, day) in enumerate(items):
        found[Pair(Relation.FOLLOWED, item_id, item_id)] = log_mass(Relation.FOLLOWED, day)
        for between, (other, _) in enumerate(reversed(items[:place])):
            weight = DISTANCE_DECAY**between
            found[pair_of(Relation.FOLLOWED, item_id, other)] = log_mass(Relation.FOLLOWED, day, weight)
    return found
