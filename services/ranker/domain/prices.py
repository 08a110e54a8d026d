"""Prices of candidates against what a user usually pays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.domain.profile import Profile


def log_prices(prices: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """(logarithms of prices [n], 0 where unknown; whether known [n])."""
    known = np.isfinite(prices) & (prices > 0)
    return np.log(np.where(known, prices, 1.0)).astype(np.float32), known


def price_distance(
    profile: Profile, prices: FloatArray, categories: Sequence[str]
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """(log distance to the user's usual price, in spreads [n], negative where cheaper; whether it is known [n]).

    The usual price is that of the candidate's category; in a category that is new to the user, that of all categories.
    """
    if profile.price is None or not len(prices):
        return np.zeros(len(prices), np.float32), np.zeros(len(prices), np.bool_)
    tastes = [profile.prices.get(category, profile.price) for category in categories]
    means, spreads = np.array([taste.mean for taste in tastes]), np.array([taste.spread for taste in tastes])
    known = np.isfinite(prices) & (prices > 0)
    distance = (np.log(np.where(known, prices, 1.0)) - means) / spreads
    return np.where(known, distance, 0).astype(np.float32), known
