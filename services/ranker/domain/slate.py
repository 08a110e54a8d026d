"""An answer for someone who asked for nothing: interests share the places, like items stand apart, brands are few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from services.ranker.domain.event import FloatArray
from services.ranker.domain.interests import Interests

# Beyond these places, the order is the scores'.
PLACES = 50
# Of so many places in a row a brand has at most so many.
WINDOW = 10
BRAND_CAP = 3
# Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): how much likeness to what stands above costs.
LIKENESS_COST = 0.3
# What being shown in vain costs at most, and after how many times half of it.
SEEN_COST = 0.2
SEEN_HALF = 4.0


@dataclass(frozen=True)
class Placement:
    """One place of a slate: the row that it went to, what likeness cost it there, and for which interest it came.

    `capped` is the row that would have come for that interest, were its brand not at its cap; None where there is none.
    """

    row: int
    likeness_cost: float
    interest: int
    capped: int | None


def fatigued(scores: FloatArray, seen: Sequence[int]) -> FloatArray:
    """[n] scores in [0, 1], less what showings in vain cost; `seen` [n] counts them."""
    low, high = float(scores.min()), float(scores.max())
    scaled = (scores - low) / (high - low) if high > low else np.ones_like(scores)
    tired: FloatArray = (scaled - seen_cost(seen)).astype(np.float32)
    return tired


def seen_cost(seen: Sequence[int]) -> FloatArray:
    """[n]: what so many showings in vain take from a scaled score."""
    cost: FloatArray = (SEEN_COST * (1 - 0.5 ** (np.array(seen) / SEEN_HALF))).astype(np.float32)
    return cost


def slate(scores: FloatArray, vectors: FloatArray, brands: Sequence[str], wishes: Interests) -> list[int]:
    """All rows, in order: those of `placements`, and beyond the first places by `scores`."""
    return whole_order(scores, [placed.row for placed in placements(scores, vectors, brands, wishes)])


def whole_order(scores: FloatArray, placed: Sequence[int]) -> list[int]:
    """The rows that have a place, then all others, best first."""
    known = set(placed)
    return [*placed, *(row for row in np.argsort(-scores, kind="stable").tolist() if row not in known)]


def placements(
    scores: FloatArray, vectors: FloatArray, brands: Sequence[str], wishes: Interests
) -> Iterator[Placement]:
    """The first places. `scores` [n] in [0, 1], `vectors` [n, dimensions] unit or zero rows, `brands` "" if unknown.

    At each place the interest goes first that is furthest behind its share, and gives its best row by MMR. Where all of
    its rows are of capped brands another interest's row comes, and where all rows are, the cap gives way.
    """
    owner, shares = np.zeros(len(scores), int), np.ones(1)
    if len(wishes):
        owner, shares = np.argmax(vectors @ wishes.vectors.T, axis=1), wishes.shares.astype(float)
    alike, names = vectors @ vectors.T, [brand.casefold() for brand in brands]
    pools = [np.flatnonzero(owner == interest) for interest in range(len(shares))]
    likeness, given, order = np.zeros(len(scores), np.float32), np.zeros(len(shares)), list[int]()
    for place in range(min(PLACES, len(scores))):
        marginal = scores - LIKENESS_COST * likeness
        shown = Counter(names[row] for row in order[max(0, place - WINDOW + 1) :])
        # Whose turn it is: furthest behind first.
        by_turn = np.argsort(given - shares * (place + 1), kind="stable")
        turns = [pools[interest] for interest in by_turn if len(pools[interest])]
        best_first = (row for pool in turns for row in pool[np.argsort(-marginal[pool], kind="stable")].tolist())
        wanted = int(turns[0][np.argmax(marginal[turns[0]])])
        row = next((row for row in best_first if not names[row] or shown[names[row]] < BRAND_CAP), wanted)
        order.append(row)
        interest = owner[row]
        yield Placement(row, LIKENESS_COST * float(likeness[row]), int(interest), None if row == wanted else wanted)
        pools[interest] = pools[interest][pools[interest] != row]
        given[interest] += 1
        likeness = np.maximum(likeness, alike[row])


def explored(order: Sequence[int], share: float, random: Random) -> tuple[list[int], list[float]]:
    """(order, propensities): with probability `share` one of the first places goes to a row drawn from all left.

    A propensity is that of the row at its place, given the rows above it; 1 beyond the first places.
    """
    left, chosen, propensities = list(order), list[int](), list[float]()
    for _ in range(min(PLACES, len(order))):
        drawn = random.randrange(len(left)) if random.random() < share else 0
        propensities.append(share / len(left) + (1 - share) * (drawn == 0))
        chosen.append(left.pop(drawn))
    return chosen + left, propensities + [1.0] * len(left)
