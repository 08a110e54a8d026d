"""The rank of a candidate by retrieval's score, as 1 / (10 + rank); 0 where it has no score."""

from __future__ import annotations

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: request.ranks.retrieval,
    group=ReasonType.QUERY_MATCH,
    masked_as=MaskedAs.ZERO,
)
