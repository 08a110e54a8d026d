"""The rank of a candidate among the neighbours of the person's items, as 1 / (10 + rank); 0 for one that is none."""

from __future__ import annotations

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: request.ranks.neighbours,
    group=ReasonType.RECENT_HISTORY,
    masked_as=MaskedAs.ZERO,
)
