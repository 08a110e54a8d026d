"""Whether a candidate is of the type that the query asks for: what retrieval adds for it, in spreads of its scores."""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType


def type_match(request: RankingRequest) -> FloatArray:
    """[n], from 0; above 1 for a product of the type that has all content words of the query."""
    return np.zeros(len(request.item_ids), np.float32) if request.type_match is None else request.type_match


FEATURE = CandidateFeature(
    value=lambda request, user: type_match(request), group=ReasonType.QUERY_MATCH, masked_as=MaskedAs.ZERO
)
