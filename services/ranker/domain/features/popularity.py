"""How popular a candidate is, from 0 to 1."""

from __future__ import annotations

from services.common.arrays import FloatArray
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.reasons import ReasonType

# Weighted events that make an item half as popular as one can be.
_HALF = 10.0


def saturated(popularity: FloatArray) -> FloatArray:
    """Weighted counts of events [n] to [0, 1)."""
    return (popularity / (popularity + _HALF)).astype("float32")


FEATURE = CandidateFeature(
    value=lambda request, user: saturated(request.popularity), group=ReasonType.POPULARITY, masked_as=MaskedAs.ZERO
)
