"""Which item gets which of a slate's first places: similar items may be spread, and interests may share them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.domain.interests import Interests
from services.ranker.domain.slate.brand_cap import BRAND_CAP, BrandCap
from services.ranker.domain.slate.options import SlateOptions

# Beyond these places, the order is the scores'.
PLACES = 50
# Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): what similarity to the items above costs. As much as
# leaves the accuracy of the scores' own order as it is: docs/explanation/ranking.md.
SIMILARITY_COST = 0.02


@dataclass(frozen=True)
class Placement:
    """One place of a slate: its row, what similarity to the items above cost the row, and the interest it serves.

    `capped` is the row that the brand cap kept from this place; None if it kept none.
    """

    row: int
    similarity_cost: float
    interest: int
    capped: int | None


def whole_order(scores: FloatArray, placed: Sequence[int]) -> list[int]:
    """The rows that have a place, then all others, best first."""
    known = set(placed)
    return [*placed, *(row for row in np.argsort(-scores, kind="stable").tolist() if row not in known)]


def placements(
    scores: FloatArray,
    vectors: FloatArray,
    brands: Sequence[str],
    interests: Interests,
    options: SlateOptions = SlateOptions(),  # noqa: B008 - it is immutable
) -> Iterator[Placement]:
    """The first places. `scores` [n] in [0, 1], `vectors` [n, dimensions] unit or zero rows, `brands` "" if unknown.

    Each place goes to the best row by marginal relevance; if interests share the places, to the best row of the
    interest that is furthest behind its share.
    If all rows of that interest are of capped brands, another interest's row gets the place; if all rows of all
    interests are, the cap is not applied.
    """
    owner, shares = np.zeros(len(scores), int), np.ones(1)
    if len(interests) and options.share_interests:
        owner, shares = np.argmax(vectors @ interests.vectors.T, axis=1), interests.shares.astype(float)
    cap, behind = BrandCap(brands, options.brand_cap or BRAND_CAP), np.empty(len(shares))
    similarity_cost = SIMILARITY_COST if options.similarity_cost is None else options.similarity_cost
    pools = [np.flatnonzero(owner == interest) for interest in range(len(shares))]
    similarity, given, left = np.zeros(len(scores), np.float32), np.zeros(len(shares)), [len(pool) for pool in pools]
    # A row that has a place cannot win another one.
    waiting = scores.astype(np.float32)
    for place in range(min(PLACES, len(scores))):
        marginal = waiting - similarity_cost * similarity
        np.subtract(given, shares * (place + 1), out=behind)
        behind[[not rows for rows in left]] = np.inf
        pool = pools[behind.argmin()]
        best = row = int(pool[marginal[pool].argmax()])
        if cap.is_capped(row):
            row = _best_uncapped(marginal, behind, pools, cap.capped(), otherwise=row)
        interest = int(owner[row])
        yield Placement(row, similarity_cost * float(similarity[row]), interest, None if row == best else best)
        cap.place(row)
        waiting[row] = -np.inf
        left[interest] -= 1
        given[interest] += 1
        if similarity_cost:
            np.maximum(similarity, vectors @ vectors[row], out=similarity)


def _best_uncapped(
    marginal: FloatArray,
    behind: npt.NDArray[np.float64],
    pools: Sequence[npt.NDArray[np.intp]],
    capped: npt.NDArray[np.bool_],
    otherwise: int,
) -> int:
    """The best waiting row that is not capped [n], of the interest furthest behind that has one; else `otherwise`."""
    free = np.where(capped, np.float32(-np.inf), marginal)
    for interest in behind.argsort(kind="stable"):
        pool = pools[interest]
        if len(pool) and free[best := int(pool[free[pool].argmax()])] > -np.inf:
            return best
    return otherwise
