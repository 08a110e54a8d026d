"""How a slate is made, and which factors of the shop count in it beside the person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.ranking_request import RankingRequest

# No factor of the shop outweighs what is known of the person.
MAX_FACTOR_WEIGHT = 0.3
_FRESH_HALF_LIFE_S = 30 * 86_400.0


@dataclass(frozen=True)
class SlateOptions:
    """`similarity_cost`: the weight of similarity to items above, 0 to 1. `brand_cap`: places of a brand of ten.

    The two weights are 0 to 0.3: what the margin, as a share of the price, and the freshness add to a scaled score.
    `share_interests`: whether the person's interests share the first places. Default: the ranker's own slate.
    """

    similarity_cost: float | None = None
    brand_cap: int = 0
    margin_weight: float = 0.0
    freshness_weight: float = 0.0
    share_interests: bool = False


def shop_factors(request: RankingRequest, options: SlateOptions) -> FloatArray:
    """[n]: what margin and freshness add to scores in [0, 1]. What is not known adds nothing."""
    added = np.zeros(len(request.item_ids), np.float64)
    if options.margin_weight and request.costs is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            margins = (request.prices - request.costs) / request.prices
        added += options.margin_weight * np.clip(np.nan_to_num(margins, nan=0.0, posinf=0.0, neginf=0.0), 0, 1)
    if options.freshness_weight and request.created_s is not None:
        ages_s = np.maximum(request.now_s - request.created_s, 0)
        added += options.freshness_weight * np.where(request.created_s > 0, 0.5 ** (ages_s / _FRESH_HALF_LIFE_S), 0)
    return added.astype(np.float32)
