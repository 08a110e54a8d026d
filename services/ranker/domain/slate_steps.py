"""A slate as it was made, and each step that moved one of its items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from services.ranker.domain.event import FloatArray
from services.ranker.domain.interests import interests
from services.ranker.domain.ranking import RankingRequest
from services.ranker.domain.slate import PLACES, Placement, explored, fatigue_cost, fatigued, placements, whole_order


@dataclass(frozen=True)
class SlateSteps:
    """Costs are of scores scaled to [0, 1]. `score_position` is 1-based, by score alone.

    `interest_share` is 0 where nothing is known of the user, and beyond the first places.
    """

    score_position: int
    shown_without_click_count: int
    fatigue_cost: float
    similarity_cost: float
    brand_capped_places: int
    interest_share: float
    is_explored: bool


@dataclass(frozen=True)
class Slate:
    """`order` holds all rows, `propensities` that of the row at each place; `drawn` are the rows placed by lot.

    `scores` [n] are before, `seen` [n] counts showings in vain, `shares` are the interests'.
    """

    order: Sequence[int]
    propensities: Sequence[float]
    drawn: frozenset[int]
    placed: Sequence[Placement]
    scores: FloatArray
    seen: Sequence[int]
    shares: Sequence[float]

    def steps(self, row: int) -> SlateSteps:
        placement = next((placed for placed in self.placed if placed.row == row), None)
        return SlateSteps(
            score_position=int(np.flatnonzero(np.argsort(-self.scores, kind="stable") == row)[0]) + 1,
            shown_without_click_count=self.seen[row],
            fatigue_cost=float(fatigue_cost(self.seen[row : row + 1])[0]),
            similarity_cost=placement.similarity_cost if placement else 0.0,
            brand_capped_places=sum(placed.capped == row for placed in self.placed),
            interest_share=self.shares[placement.interest] if placement and self.shares else 0.0,
            is_explored=row in self.drawn,
        )


def make_slate(request: RankingRequest, scores: FloatArray, exploration: float, random: Random) -> Slate:
    """`exploration` is the share of places drawn by lot where nothing is known of the user."""
    profile = request.profile
    seen, wishes = [profile.seen.get(item_id, 0) for item_id in request.item_ids], interests(profile)
    tired = fatigued(scores, seen)
    placed = list(placements(tired, request.vectors, request.brands, wishes))
    before = whole_order(tired, [placement.row for placement in placed])
    order, propensities = explored(before, 0.0 if profile.size else exploration, random)
    return Slate(order, propensities, _drawn(before, order), placed, scores, seen, wishes.shares.tolist())


def _drawn(before: Sequence[int], order: Sequence[int]) -> frozenset[int]:
    """The rows that stand above one that went before them."""
    left, drawn = list(before), set[int]()
    for row in order[:PLACES]:
        if row != left[0]:
            drawn.add(row)
        left.remove(row)
    return frozenset(drawn)
