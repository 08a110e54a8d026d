"""Which items a person acted on one after the other: what the person adds to the counts of FOLLOWED.

It is a function of the newest time of each of the person's last items, so events in any order of arrival give the same
counts, and what a person has added can be taken back as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from services.ranker.domain.event import EventType
from services.ranker.domain.item_counts.relations import Change, Pair, Relation, log_mass
from services.ranker.domain.repurchase import day_of

TYPES = frozenset((EventType.CLICK, EventType.DWELL, EventType.CART, EventType.PURCHASE))
# Newest items of a person that make pairs. With 50, counting costs several times as much and finds no more.
ITEMS = 20
# The weight of a pair: 1 for two items with none between them, and by this factor less for each item between them.
# Chosen on the same validation as MEASURES: 0.8 and 0.9 are alike, 0.7, 1 and 1/distance are worse.
DISTANCE_DECAY = 0.8
# How much an item counts as the neighbour of one that came after it, against the other direction. On the validation the
# NDCG@10 is .069, and .064 with both alike.
BACKWARD = 0.5
_LOG_DECAY, _LOG_BACKWARD = math.log2(DISTANCE_DECAY), math.log2(BACKWARD)
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
    was, now = _days(before), _days(after)
    kept = _kept(was, now)
    old, new = _masses(was, before=len(was) - kept), _masses(now, since=kept)
    for pair in dict.fromkeys([*old, *new]):
        old_mass, new_mass = old.get(pair), new.get(pair)
        if old_mass != new_mass:
            yield Change(pair, old_mass, new_mass)


def _days(followed: Followed) -> list[tuple[str, int]]:
    return [(item_id, day_of(time_s)) for item_id, time_s in newest(followed).items()]


def _kept(was: list[tuple[str, int]], now: list[tuple[str, int]]) -> int:
    """The number of last items that are now the first ones: their pairs with each other stay, which most do."""
    most = min(len(was), len(now))
    return next((kept for kept in range(most, 0, -1) if was[-kept:] == now[:kept]), 0)


def _masses(items: list[tuple[str, int]], since: int = 0, before: int = ITEMS) -> dict[Pair, float]:
    """The log mass of each item itself, and of each pair in both directions, by the day of the later event.

    Only those in which an item has a place from `since` on, and one has a place before `before`.
    """
    found: dict[Pair, float] = {}
    for place, (item_id, day) in enumerate(items):
        if place < since:
            continue
        if place < before:
            found[Pair(Relation.FOLLOWED, item_id, item_id)] = log_mass(Relation.FOLLOWED, day)
        for earlier in range(min(place, before)):
            other, _ = items[earlier]
            mass = log_mass(Relation.FOLLOWED, day) + (place - earlier - 1) * _LOG_DECAY
            found[Pair(Relation.FOLLOWED, other, item_id)] = mass
            found[Pair(Relation.FOLLOWED, item_id, other)] = mass + _LOG_BACKWARD
    return found
