"""Whether a candidate's price is known."""

from __future__ import annotations

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.prices import log_prices
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: log_prices(request.prices)[1],
    group=ReasonType.PRICE_AFFINITY,
    masked_as=MaskedAs.MEDIAN_OF_CANDIDATES,
)
