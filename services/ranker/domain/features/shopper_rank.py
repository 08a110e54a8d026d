"""The rank of a candidate by the shopper model, as 1 / (10 + rank); 0 without a model or a history."""

from __future__ import annotations

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: request.ranks.shopper,
    group=ReasonType.RECENT_HISTORY,
    masked_as=MaskedAs.ZERO,
)
