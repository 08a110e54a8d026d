"""1 at the price that the user usually pays in the candidate's category, less the farther the price is from it."""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType


def price_affinity(request: RankingRequest) -> FloatArray:
    """[n], in [0, 1]; 0 where the price, or what the user pays, is unknown."""
    distance, known = request.price_distance
    return np.where(known, np.exp(-0.5 * distance**2), 0).astype(np.float32)


FEATURE = CandidateFeature(
    value=lambda request, user: price_affinity(request),
    group=ReasonType.PRICE_AFFINITY,
    masked_as=MaskedAs.MEDIAN_OF_CANDIDATES,
)
