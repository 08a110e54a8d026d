"""Cosine of a candidate's vector with the query's; 0 without a query vector."""

from __future__ import annotations

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: request.vectors @ user.query, group=ReasonType.QUERY_MATCH, masked_as=MaskedAs.ZERO
)
