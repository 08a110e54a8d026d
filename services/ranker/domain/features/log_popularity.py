"""How popular a candidate is, as log(1 + weighted count of events)."""

from __future__ import annotations

import numpy as np

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: np.log1p(request.popularity), group=ReasonType.POPULARITY, masked_as=MaskedAs.ZERO
)
