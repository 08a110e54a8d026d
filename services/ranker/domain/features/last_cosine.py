"""Cosine of a candidate's vector with that of the newest item of the history; 0 without one."""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.user_features import UserFeatures


def last_cosine(request: RankingRequest, user: UserFeatures) -> FloatArray:
    """[n]."""
    if not len(user.vectors):
        return np.zeros(len(request.item_ids), np.float32)
    cosines: FloatArray = request.vectors @ user.vectors[0]
    return cosines


FEATURE = CandidateFeature(
    value=last_cosine,
    group=ReasonType.RECENT_HISTORY,
    masked_as=MaskedAs.ZERO,
    depends_on_single_events=True,
)
