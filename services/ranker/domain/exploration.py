"""Exploration: some places are drawn at random, and every item has a known probability of its place.

The policy, for n rows that may move, the best first, of which K places are explored: place 1 to K in turn gets, with
probability `share`, a row drawn uniformly from the first `window` rows that have no place yet, and otherwise the first
of these. The other rows follow in their order. So a drawn row pushes the rows above its own place down by one.

The propensity of an item is the probability that the policy puts it at its place, over all draws. The policy does not
look at scores, so it depends on ranks only. Follow one row: its state is the number d of rows before it that have no
place yet, at first its rank. Let a place choose from m = min(window, rows left) rows. Then the row of state d

- gets the place with probability share / m if d < m, and 1 - share more if d = 0;
- stays at d if a row behind it is drawn: share * (m - 1 - d) / m if d < m;
- moves to d - 1 otherwise: if a row before it gets the place.

These three add up to 1. K such steps give the probability of each explored place; the states that are left after them
are the places behind. The matrix [places, ranks] is doubly stochastic: rows and ranks are permuted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.ranking_request import BoolArray, RankingRequest
from services.ranker.domain.slate.placements import PLACES


@dataclass(frozen=True)
class Policy:
    """Explored `places`, from 0, each of which may get one of the first `window` rows without a place."""

    places: range
    window: int


SLATES = Policy(range(PLACES), window=50)
# The best matches of a query stay first, few people see more than a page of twenty, and what is far behind is seldom
# what the query asks for.
SEARCHES = Policy(range(3, 20), window=10)


@dataclass(frozen=True)
class ExplorationShares:
    """Shares of the explored places: in slates for persons of whom nothing is known, and in all other rankings."""

    uninformed: float = 0.0
    informed: float = 0.0

    def of(self, request: RankingRequest) -> float:
        return self.informed if request.is_search or request.is_of_known_person else self.uninformed


@dataclass(frozen=True)
class Explored:
    """`order` holds all rows, `propensities` that of the row at each place, `before` its place from 0 before the draws.

    `drawn` are the rows that a draw put above a row that preceded them. `share` of the places was explored.
    """

    order: Sequence[int]
    propensities: Sequence[float]
    before: Sequence[int]
    drawn: frozenset[int]
    share: float = 0.0


def explored(order: Sequence[int], may_move: BoolArray, policy: Policy, share: float, random: Random) -> Explored:
    """`may_move` [n], by row. The other rows, and all before the explored places, keep theirs, with propensity 1."""
    places, window = policy.places, policy.window
    shown, propensities, drawn = list(order), [1.0] * len(order), set[int]()
    before = list(range(len(order)))
    moving = [place for place in range(places.start, len(shown)) if may_move[shown[place]]] if share else []
    count = sum(place < places.stop for place in moving)
    reach = min(len(moving), count + window - 1)
    left = list(range(reach))
    ranks = list[int]()
    for _ in range(count):
        chosen = random.randrange(min(window, len(left))) if random.random() < share else 0
        ranks.append(left.pop(chosen))
        if chosen:
            drawn.add(order[moving[ranks[-1]]])
    if count:
        probabilities = place_probabilities(reach, count, share, window)
        for at, rank in enumerate([*ranks, *left]):
            shown[moving[at]], before[moving[at]] = order[moving[rank]], moving[rank]
            propensities[moving[at]] = float(probabilities[at, rank])
    return Explored(shown, propensities, before, frozenset(drawn), share if count else 0.0)


@lru_cache(maxsize=256)
def place_probabilities(count: int, explored_places: int, share: float, window: int) -> FloatArray:
    """[places, ranks], both `count`: how likely the policy puts the row of a rank at a place."""
    found = np.empty((count, count), np.float64)
    # [ranks, states]
    states = np.eye(count)
    before = np.arange(count)
    for place in range(explored_places):
        m = min(window, count - place)
        found[place] = (1 - share) * states[:, 0] + share / m * states[:, :m].sum(axis=1)
        stays = np.where(before < m, share * (m - 1 - before) / m, 0.0)
        falls = np.where(before < m, 1 - share + share * before / m, 1.0)
        moved = states * stays
        moved[:, :-1] += states[:, 1:] * falls[1:]
        states = moved
    found[explored_places:] = states[:, : count - explored_places].T
    found.setflags(write=False)
    rounded: FloatArray = found.astype(np.float32)
    return rounded
