"""How well a candidate matches the query: retrieval's score without its type, scaled to [0, 1] over all candidates."""

from __future__ import annotations

from services.common.arrays import FloatArray, min_max
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import ReasonType


def query_match(request: RankingRequest) -> FloatArray:
    """[n], 1 for all candidates if their retrieval scores are equal."""
    return min_max(request.retrieval_scores, *(request.retrieval_bounds or ()))


FEATURE = CandidateFeature(
    value=lambda request, user: query_match(request), group=ReasonType.QUERY_MATCH, masked_as=MaskedAs.ZERO
)
