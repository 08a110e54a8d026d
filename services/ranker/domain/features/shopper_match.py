"""How near a candidate is to the person's vector by the shopper model; 0 without a model or a history."""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType


def shopper_match(request: RankingRequest) -> FloatArray:
    """[n]: the dot products as the model gives them, so that a weight means the same for every set of candidates."""
    return np.zeros(len(request.item_ids), np.float32) if request.shopper_scores is None else request.shopper_scores


FEATURE = CandidateFeature(
    value=lambda request, user: shopper_match(request), group=ReasonType.RECENT_HISTORY, masked_as=MaskedAs.ZERO
)
