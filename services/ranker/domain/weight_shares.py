"""How much of a history's weight falls on items of a brand or a category."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from services.common.arrays import FloatArray


def weight_shares(values: Sequence[str], of_items: Sequence[str], weights: FloatArray) -> FloatArray:
    """For each of `values` [n] the share, in [0, 1], of the positive weight that is on items with this value.

    `of_items` and `weights` [k] are of the history's items. 0 for an empty value, and where no weight is positive.
    """
    by_value, total = defaultdict[str, float](float), 0.0
    for value, weight in zip(of_items, weights.tolist(), strict=True):
        if weight > 0:
            by_value[value] += weight
            total += weight
    by_value[""] = 0.0
    return np.array([by_value.get(value, 0.0) for value in values], np.float32) / np.float32(total or 1.0)
