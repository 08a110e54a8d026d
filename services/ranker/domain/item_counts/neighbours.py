"""How often items were bought or viewed together: decayed counts of persons, and the items they relate to an item.

A count is stored as log2 of its mass on a scale that grows with time, as in domain/popularity.py: counts of any age
compare without decaying each.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

HALF_LIFE_DAYS = 30.0
# Items that are kept for an item: those with the greatest counts.
NEIGHBOURS = 100
# Added to the expected count: a pair of few persons does not outrank a frequent one (shrinkage).
SHRINKAGE = 10.0
# Counts that nothing was added to for so long are forgotten: six half-lives.
COUNTS_S = 180 * 86_400.0
_DAY_S = 86_400.0


class Count(NamedTuple):
    """`log_mass` is log2 of the decayed count, `persons` the number without decay."""

    log_mass: float
    persons: int

    def at(self, now_s: float) -> float:
        """The decayed count."""
        return float(2.0 ** (self.log_mass - now_s / _DAY_S / HALF_LIFE_DAYS))


class Related(NamedTuple):
    item_id: str
    score: float
    persons: int


@dataclass
class Neighbours:
    """The items that were bought, or viewed, together with one item."""

    others: dict[str, Count] = field(default_factory=dict)

    def change(self, other: str, before: int | None, after: int | None) -> None:
        """A person's count moves between two days; beyond NEIGHBOURS the smallest counts are dropped."""
        count = changed(self.others.get(other), before, after)
        if count is None:
            self.others.pop(other, None)
            return
        self.others[other] = count
        if len(self.others) > NEIGHBOURS:
            # The new one may stay: otherwise no new pair of a frequent item would ever grow.
            del self.others[min((id for id in self.others if id != other), key=lambda id: (self.others[id], id))]

    def strongest(self, most: int) -> Neighbours:
        """Those with the greatest counts."""
        if len(self.others) <= most:
            return self
        return Neighbours(dict(heapq.nlargest(most, self.others.items(), key=lambda pair: pair[1])))


def changed(count: Count | None, before: int | None, after: int | None) -> Count | None:
    """A count after a person's part of it moved from one day to another. None: nobody is left."""
    masses = [] if count is None else [(count.log_mass, 1)]
    if before is not None and count is not None:
        masses.append((before / HALF_LIFE_DAYS, -1))
    if after is not None:
        masses.append((after / HALF_LIFE_DAYS, 1))
    was_counted = before is not None and count is not None
    persons = (0 if count is None else count.persons) - was_counted + (after is not None)
    if persons <= 0 or not masses:
        return None
    most = max(log_mass for log_mass, _ in masses)
    total = sum(sign * 2.0 ** (log_mass - most) for log_mass, sign in masses)
    # A difference of floats: at least what one person adds on the day of the least.
    return Count(most + math.log2(max(total, 2.0**-40)), persons)


def related(
    neighbours: Mapping[str, Neighbours], totals: Mapping[str, Count], now_s: float, limit: int
) -> list[Related]:
    """The items related to all items of `neighbours`, strongest first, without these items.

    The score is the sum over these items of count / (√(nᵢ nⱼ) + SHRINKAGE): the cosine of the persons of two items,
    shrunk. `totals` are the counts n of the items themselves; `persons` is the highest number of one pair.
    """
    scores: dict[str, float] = {}
    persons: dict[str, int] = {}
    amounts = {item_id: count.at(now_s) for item_id, count in totals.items()}
    for item_id, known in neighbours.items():
        own = amounts.get(item_id, 0.0)
        for other, count in known.others.items():
            if other in neighbours:
                continue
            mass = count.at(now_s)
            # An item cannot have fewer persons than the pair: its total may be older than the bound.
            expected = math.sqrt(max(own, mass) * max(amounts.get(other, 0.0), mass))
            scores[other] = scores.get(other, 0.0) + mass / (expected + SHRINKAGE)
            persons[other] = max(count.persons, persons.get(other, 0))
    ranked = sorted(scores, key=lambda id: (-scores[id], id))[:limit]
    return [Related(id, scores[id], persons[id]) for id in ranked]


def others_of(neighbours: Iterable[Neighbours]) -> Sequence[str]:
    """All items that are named, each once."""
    return list(dict.fromkeys(other for known in neighbours for other in known.others))
