"""The neighbours of an item: how often persons bought, viewed or acted on other items together with it."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.ranker.domain.item_counts.relations import MEASURES, Relation

# Items that are kept for an item: those with the greatest counts. A document grows to MOST before it is cut, so that a
# new pair of a frequent item has the time to grow. On the validation of relations.MEASURES this costs .001 of NDCG@10
# against all neighbours.
NEIGHBOURS, MOST = 100, 150
# Counts that nothing was added to for so long are forgotten: after six half-lives, and those of FOLLOWED after about as
# long as events are kept.
COUNTS_S, FOLLOWED_S = 180 * 86_400.0, 400 * 86_400.0
_DAY_S = 86_400.0


class Count(NamedTuple):
    """`log_mass` is log2 of the decayed count on a scale that grows with time, `persons` the number without decay."""

    log_mass: float
    persons: int

    def at(self, now_s: float, half_life_days: float) -> float:
        """The decayed count."""
        return float(2.0 ** (self.log_mass - now_s / _DAY_S / half_life_days))


class Related(NamedTuple):
    item_id: str
    score: float
    persons: int


@dataclass
class Neighbours:
    """The items that have a relation to one item."""

    others: dict[str, Count] = field(default_factory=dict)

    def change(self, other: str, before: float | None, after: float | None) -> None:
        """A person's part of the count moves from one log mass to another."""
        count = changed(self.others.get(other), before, after)
        if count is None:
            self.others.pop(other, None)
        else:
            self.others[other] = count

    def bounded(self) -> Neighbours:
        """As it is stored: the strongest first, beyond MOST those NEIGHBOURS only."""
        return self.strongest(len(self.others) if len(self.others) <= MOST else NEIGHBOURS)

    def strongest(self, most: int) -> Neighbours:
        """Those with the greatest counts, in their order; equal ones by id."""
        order = heapq.nsmallest(most, self.others.items(), key=lambda pair: (-pair[1].log_mass, pair[0]))
        return Neighbours(dict(order))


def changed(count: Count | None, before: float | None, after: float | None) -> Count | None:
    """A count after a person's part of it moved from one log mass to another. None: nobody is left."""
    if count is None:
        return None if after is None else Count(after, 1)
    persons = count.persons - (before is not None) + (after is not None)
    if persons <= 0:
        return None
    most = count.log_mass if after is None else max(count.log_mass, after)
    total = 2.0 ** (count.log_mass - most)
    if before is not None:
        total -= 2.0 ** (before - most)
    if after is not None:
        total += 2.0 ** (after - most)
    # A difference of floats: at least what one person adds on the day of the least.
    return Count(most + math.log2(max(total, 2.0**-40)), persons)


def related(
    relation: Relation,
    neighbours: Mapping[str, Neighbours],
    totals: Mapping[str, Count],
    now_s: float,
    limit: int,
) -> list[Related]:
    """The items related to all items of `neighbours`, strongest first, without these items.

    The score is the sum over these items of the relation's measure. `totals` are the counts of the items themselves;
    `persons` is the highest number of one pair.
    """
    measure = MEASURES[relation]
    scores: dict[str, float] = {}
    persons: dict[str, int] = {}
    amounts = {item_id: count.at(now_s, measure.half_life_days) for item_id, count in totals.items()}
    for item_id, known in neighbours.items():
        own = amounts.get(item_id, 0.0)
        for other, count in known.others.items():
            if other in neighbours:
                continue
            mass = count.at(now_s, measure.half_life_days)
            # An item cannot have fewer persons than the pair: its total may be older than the bound.
            expected = max(own, mass) ** measure.own * max(amounts.get(other, 0.0), mass) ** measure.other
            scores[other] = scores.get(other, 0.0) + mass / (expected + measure.shrinkage)
            persons[other] = max(count.persons, persons.get(other, 0))
    ranked = sorted(scores, key=lambda id: (-scores[id], id))[:limit]
    return [Related(id, scores[id], persons[id]) for id in ranked]


def others_of(neighbours: Iterable[Neighbours]) -> Sequence[str]:
    """All items that are named, each once."""
    return list(dict.fromkeys(other for known in neighbours for other in known.others))
