"""How many pieces of a candidate are in stock, as log(1 + pieces); 0 where stock is not tracked."""

from __future__ import annotations

import numpy as np

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

# More pieces count as so many.
_MOST = 1_000

FEATURE = CandidateFeature(
    value=lambda request, user: np.log1p(np.clip(request.stocks, 0, _MOST)),
    group=ReasonType.AVAILABILITY,
    masked_as=MaskedAs.MEDIAN_OF_CANDIDATES,
)
