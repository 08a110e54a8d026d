"""How much each item of a user's history influences the score of a candidate."""

from __future__ import annotations

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.profile import Profile


def attention(vectors: FloatArray, profile: Profile) -> FloatArray:
    """[n, items of the profile], negative where an item of the history lowers the score of a candidate.

    Target attention without parameters (after Zhou et al., KDD 2018). Cosines below 0.3 are noise in this space and
    count nothing.
    """
    influence: FloatArray = _nearness(vectors, profile) * _relative_weights(profile)
    return influence


def history_match(vectors: FloatArray, profile: Profile) -> FloatArray:
    """[n], in [-1, 1]: how similar a candidate is to the items of the profile; 0 without any."""
    if not profile.size:
        return np.zeros(len(vectors), np.float32)
    influence = _nearness(vectors, profile) @ _relative_weights(profile)
    strength = float(np.tanh(np.abs(profile.weights).sum()))
    match: FloatArray = (strength * np.tanh(influence)).astype(np.float32)
    return match


def _nearness(vectors: FloatArray, profile: Profile) -> FloatArray:
    """[n, items of the profile], in [0, 1]."""
    near: FloatArray = vectors @ profile.vectors.T
    # In place: further arrays of this size would take as long as the product.
    near -= 0.3
    near /= 0.7
    near.clip(0, 1, out=near)
    near *= near
    return near


def _relative_weights(profile: Profile) -> FloatArray:
    """[items of the profile]: 1 or -1 for the greatest."""
    weights: FloatArray = profile.weights / max(float(np.abs(profile.weights).max(initial=0)), 1e-9)
    return weights
