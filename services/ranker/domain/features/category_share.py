"""The share of the weight of the history's items that have the candidate's category path; 0 where it is unknown."""

from __future__ import annotations

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType
from services.ranker.domain.weight_shares import weight_shares

FEATURE = CandidateFeature(
    value=lambda request, user: weight_shares(request.categories, request.profile.categories, request.profile.weights),
    group=ReasonType.RECENT_HISTORY,
    masked_as=MaskedAs.ZERO,
    depends_on_single_events=True,
)
