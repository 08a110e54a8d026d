"""Whether a query or a filter asks for the candidates: the same for all of them."""

from __future__ import annotations

import numpy as np

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: np.full(len(request.item_ids), request.is_search),
    group=ReasonType.QUERY_MATCH,
    masked_as=MaskedAs.ZERO,
)
