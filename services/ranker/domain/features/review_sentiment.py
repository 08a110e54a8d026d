"""What shoppers' reviews of a candidate say, -1 to 1, drawn to 0 if they are few. 0 where there are none."""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType


def review_sentiment(request: RankingRequest) -> FloatArray:
    """[n]."""
    known = request.review_sentiments
    return np.zeros(len(request.item_ids), np.float32) if known is None else known


FEATURE = CandidateFeature(
    value=lambda request, user: review_sentiment(request), group=ReasonType.POPULARITY, masked_as=MaskedAs.ZERO
)
