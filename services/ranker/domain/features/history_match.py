"""How similar a candidate is to the items of the user's history, recent ones more; negative where they were removed."""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.attention import attention
from services.ranker.domain.candidate_feature import CandidateFeature, MaskedAs
from services.ranker.domain.profile import Profile
from services.ranker.domain.reasons import ReasonType


def history_match(vectors: FloatArray, profile: Profile) -> FloatArray:
    """[n], in [-1, 1]; 0 without a history."""
    if not profile.size:
        return np.zeros(len(vectors), np.float32)
    influence = attention(vectors, profile).sum(axis=1)
    strength = float(np.tanh(np.abs(profile.weights).sum()))
    match: FloatArray = (strength * np.tanh(influence)).astype(np.float32)
    return match


FEATURE = CandidateFeature(
    value=lambda request, user: history_match(request.vectors, request.profile),
    group=ReasonType.RECENT_HISTORY,
    masked_as=MaskedAs.ZERO,
    depends_on_single_events=True,
)
