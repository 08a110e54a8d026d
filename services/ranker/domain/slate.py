"""An answer for someone who asked for nothing: interests share the places, like items stand apart, brands are few."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from services.ranker.domain.event import FloatArray
from services.ranker.domain.interests import Interests

# Beyond these places, the order is the scores'.
PLACES = 50
# Of so many places in a row a brand has at most so many.
WINDOW = 10
BRAND_CAP = 3
# Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): how much similarity to what stands above costs.
LIKENESS_COST = 0.3
# What being shown in vain costs at most, and after how many times half of it.
SEEN_COST = 0.2
SEEN_HALF = 4.0
# Number of no brand.
_UNKNOWN = 0


@dataclass(frozen=True)
class Placement:
    """One place of a slate: the row that it went to, what similarity cost it there, and for which interest it came.

    `capped` is the row that would have come for that interest, were its brand not at its cap; None where there is none.
    """

    row: int
    similarity_cost: float
    interest: int
    capped: int | None


def fatigued(scores: FloatArray, seen: Sequence[int]) -> FloatArray:
    """[n] scores in [0, 1], less what showings in vain cost; `seen` [n] counts them."""
    low, high = float(scores.min()), float(scores.max())
    scaled = (scores - low) / (high - low) if high > low else np.ones_like(scores)
    tired: FloatArray = (scaled - fatigue_cost(seen)).astype(np.float32)
    return tired


def fatigue_cost(seen: Sequence[int]) -> FloatArray:
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
    alike, brand_of, behind = vectors @ vectors.T, _brand_numbers(brands), np.empty(len(shares))
    pools = [np.flatnonzero(owner == interest) for interest in range(len(shares))]
    similarity, given, left = np.zeros(len(scores), np.float32), np.zeros(len(shares)), [len(pool) for pool in pools]
    in_window, at_cap, order = [0] * (len(scores) + 1), np.zeros(len(scores) + 1, bool), list[int]()
    # What has its place can win no other.
    waiting = scores.astype(np.float32)
    for place in range(min(PLACES, len(scores))):
        marginal = waiting - LIKENESS_COST * similarity
        np.subtract(given, shares * (place + 1), out=behind)
        behind[[not rows for rows in left]] = np.inf
        pool = pools[behind.argmin()]
        wanted = row = int(pool[marginal[pool].argmax()])
        if at_cap[brand_of[row]]:
            row = _best_of_free_brands(marginal, behind, pools, at_cap[brand_of], instead_of=row)
        interest = int(owner[row])
        yield Placement(row, LIKENESS_COST * float(similarity[row]), interest, None if row == wanted else wanted)
        order.append(row)
        waiting[row] = -np.inf
        left[interest] -= 1
        given[interest] += 1
        np.maximum(similarity, alike[row], out=similarity)
        # The window of the next place: this row comes in, the eldest goes out.
        coming_and_going = ((row, 1), *(((order[-WINDOW], -1),) if len(order) >= WINDOW else ()))
        for changed, by in coming_and_going:
            brand = brand_of[changed]
            in_window[brand] += by
            at_cap[brand] = brand != _UNKNOWN and in_window[brand] >= BRAND_CAP


def _best_of_free_brands(
    marginal: FloatArray,
    behind: npt.NDArray[np.float64],
    pools: Sequence[npt.NDArray[np.intp]],
    capped: npt.NDArray[np.bool_],
    instead_of: int,
) -> int:
    """The best waiting row that is not capped [n], of the interest furthest behind that has one; else `instead_of`."""
    free = np.where(capped, np.float32(-np.inf), marginal)
    for interest in behind.argsort(kind="stable"):
        pool = pools[interest]
        if len(pool) and free[best := int(pool[free[pool].argmax()])] > -np.inf:
            return best
    return instead_of


def _brand_numbers(brands: Sequence[str]) -> list[int]:
    """One for each brand, however it is written; _UNKNOWN for none."""
    numbers = {"": _UNKNOWN}
    return [numbers.setdefault(brand.casefold(), len(numbers)) for brand in brands]


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
