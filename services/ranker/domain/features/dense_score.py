"""Cosine of a candidate with the nearest query vector, from retrieval's dense leg; 0 where the leg did not find it."""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType


def dense_score(request: RankingRequest) -> FloatArray:
    """[n]."""
    return np.zeros(len(request.item_ids), np.float32) if request.dense_scores is None else request.dense_scores


FEATURE = CandidateFeature(
    value=lambda request, user: dense_score(request),
    group=ReasonType.QUERY_MATCH,
    masked_as=MaskedAs.ZERO,
)
