"""How often persons acted on a candidate together with the items that this person acted on last; 0 where never."""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType


def neighbour_match(request: RankingRequest) -> FloatArray:
    """[n], not negative: the square root of the score, whose greatest values are far from the rest."""
    if request.neighbour_scores is None:
        return np.zeros(len(request.item_ids), np.float32)
    return np.sqrt(request.neighbour_scores).astype(np.float32)


FEATURE = CandidateFeature(
    value=lambda request, user: neighbour_match(request), group=ReasonType.RECENT_HISTORY, masked_as=MaskedAs.ZERO
)
