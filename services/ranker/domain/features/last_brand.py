"""Whether the newest item of the history whose brand is known has the candidate's brand."""

from __future__ import annotations

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.last_values import is_last_value
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: is_last_value(request.brands, request.user_history, lambda item: item.brand),
    group=ReasonType.RECENT_HISTORY,
    masked_as=MaskedAs.ZERO,
    depends_on_single_events=True,
)
