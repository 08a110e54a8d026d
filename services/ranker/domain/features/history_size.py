"""How many items the profile has, as log(1 + count): the same for all candidates."""

from __future__ import annotations

import numpy as np

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: np.full(len(request.item_ids), np.log1p(request.profile.size)),
    group=ReasonType.RECENT_HISTORY,
    masked_as=MaskedAs.ZERO,
)
