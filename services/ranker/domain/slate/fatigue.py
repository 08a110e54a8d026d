"""Fatigue: items that were shown repeatedly without a click lose score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.common.arrays import FloatArray, min_max

# What fatigue costs at most, of scores in [0, 1], and after how many impressions it costs half of that.
MAX_FATIGUE_COST = 0.2
HALF_FATIGUE_IMPRESSIONS = 4.0


def fatigued(scores: FloatArray, shown_without_click: Sequence[int]) -> FloatArray:
    """[n]: scores scaled to [0, 1], less the fatigue cost of `shown_without_click` [n] impressions."""
    scaled: FloatArray = (min_max(scores) - fatigue_cost(shown_without_click)).astype(np.float32)
    return scaled


def fatigue_cost(shown_without_click: Sequence[int]) -> FloatArray:
    """[n]: what so many impressions without a click take from a scaled score."""
    share = 1 - 0.5 ** (np.array(shown_without_click) / HALF_FATIGUE_IMPRESSIONS)
    cost: FloatArray = (MAX_FATIGUE_COST * share).astype(np.float32)
    return cost
