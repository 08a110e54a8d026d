"""How many of the attributes that the user has declared a candidate states with an equal value."""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType


def attribute_match(request: RankingRequest) -> FloatArray:
    """[n], -1 to 1: see domain/attribute_matches.py. 0 for a user who has declared nothing."""
    if request.attribute_matches is None:
        return np.zeros(len(request.item_ids), np.float32)
    return request.attribute_matches


FEATURE = CandidateFeature(
    value=lambda request, user: attribute_match(request), group=ReasonType.RECENT_HISTORY, masked_as=MaskedAs.ZERO
)
