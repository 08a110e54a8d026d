"""Whether a candidate is known to be out of stock."""

from __future__ import annotations

from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

FEATURE = CandidateFeature(
    value=lambda request, user: request.stocks == 0, group=ReasonType.AVAILABILITY, masked_as=MaskedAs.ZERO
)
