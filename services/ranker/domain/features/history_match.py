"""How similar a candidate is to the items of the user's history, recent ones more; negative where they were removed."""

from __future__ import annotations

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: request.history_match,
    group=ReasonType.RECENT_HISTORY,
    masked_as=MaskedAs.ZERO,
    depends_on_single_events=True,
)
