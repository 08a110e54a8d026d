"""Cosine of a candidate's vector with the mean of what the user has liked for months; 0 without a history."""

from __future__ import annotations

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: request.vectors @ user.long_term,
    group=ReasonType.RECENT_HISTORY,
    masked_as=MaskedAs.ZERO,
)
