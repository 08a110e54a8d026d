"""A slate as it was made, and what moved each of its items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.interests import Interests, interests
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.slate.fatigue import fatigue_cost, fatigued
from services.ranker.domain.slate.options import SlateOptions, shop_factors
from services.ranker.domain.slate.placements import Placement, placements, whole_order


@dataclass(frozen=True)
class SlateSteps:
    """What moved one item. Costs are of scores scaled to [0, 1]. `score_position` is 1-based, by score alone.

    `interest_share` is 0 where the interests share no places, and beyond the first places.
    """

    score_position: int
    shown_without_click_count: int = 0
    fatigue_cost: float = 0.0
    similarity_cost: float = 0.0
    brand_capped_places: int = 0
    interest_share: float = 0.0
    is_explored: bool = False


@dataclass(frozen=True)
class Slate:
    """`order` holds all rows, before exploration.

    `scores` [n] are the ranker's, `shown_without_click` [n] counts impressions, `shares` are the interests'.
    """

    order: Sequence[int]
    placed: Sequence[Placement]
    scores: FloatArray
    shown_without_click: Sequence[int]
    shares: Sequence[float]

    def steps(self, row: int) -> SlateSteps:
        placement = next((placed for placed in self.placed if placed.row == row), None)
        return SlateSteps(
            score_position=position_by_score(self.scores, row),
            shown_without_click_count=self.shown_without_click[row],
            fatigue_cost=float(fatigue_cost(self.shown_without_click[row : row + 1])[0]),
            similarity_cost=placement.similarity_cost if placement else 0.0,
            brand_capped_places=sum(placed.capped == row for placed in self.placed),
            interest_share=self.shares[placement.interest] if placement and self.shares else 0.0,
        )


def position_by_score(scores: FloatArray, row: int) -> int:
    """1-based."""
    return int(np.flatnonzero(np.argsort(-scores, kind="stable") == row)[0]) + 1


def make_slate(
    request: RankingRequest,
    scores: FloatArray,
    options: SlateOptions = SlateOptions(),  # noqa: B008 - it is immutable
) -> Slate:
    """Items that are out of stock stand behind all others, in the order that they would have among themselves."""
    profile = request.profile
    shown = [profile.shown_without_click.get(item_id, 0) for item_id in request.item_ids]
    of_user = interests(profile) if options.share_interests else Interests.none()
    tired = fatigued(scores, shown) + shop_factors(request, options)
    if request.offsets is not None:
        tired = tired + request.offsets
    placed = list(placements(tired, request.vectors, request.brands, of_user, options))
    before = whole_order(tired, [placement.row for placement in placed])
    available = [row for row in before if request.stocks[row] != 0]
    sold_out = [row for row in before if request.stocks[row] == 0]
    return Slate([*available, *sold_out], placed, scores, shown, of_user.shares.tolist())
