"""BM25 score of a candidate, from retrieval's lexical leg; 0 where the leg did not find it."""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType


def lexical_score(request: RankingRequest) -> FloatArray:
    """[n]."""
    return np.zeros(len(request.item_ids), np.float32) if request.lexical_scores is None else request.lexical_scores


FEATURE = CandidateFeature(
    value=lambda request, user: lexical_score(request),
    group=ReasonType.QUERY_MATCH,
    masked_as=MaskedAs.ZERO,
)
