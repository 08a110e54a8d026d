"""How far a candidate's price is from what the user usually pays, in spreads of its logarithm; negative: cheaper."""

from __future__ import annotations

import numpy as np

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

# In spreads. Larger distances count as this one.
_MOST = 4

FEATURE = CandidateFeature(
    value=lambda request, user: np.clip(request.price_distance[0], -_MOST, _MOST),
    group=ReasonType.PRICE_AFFINITY,
    masked_as=MaskedAs.MEDIAN_OF_CANDIDATES,
)
