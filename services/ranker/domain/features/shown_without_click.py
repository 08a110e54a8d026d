"""How often a candidate was shown to the user since the user's last event on it, as log(1 + count)."""

from __future__ import annotations

import numpy as np

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: np.log1p(
        [request.profile.shown_without_click.get(item_id, 0) for item_id in request.item_ids]
    ),
    group=ReasonType.RECENT_HISTORY,
    masked_as=MaskedAs.ZERO,
)
