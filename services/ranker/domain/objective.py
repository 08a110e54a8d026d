"""How the predictions of a ranker network's tasks make one score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray


@dataclass(frozen=True)
class Objective:
    """The values of a click, a cart and a purchase. An item out of stock keeps `out_of_stock` of its score."""

    click: float
    cart: float
    purchase: float
    out_of_stock: float

    def score(self, tasks: Mapping[str, FloatArray], stocks: FloatArray) -> FloatArray:
        """The expected value of showing each candidate, [n]. `stocks` [n] are -1 where not tracked."""
        worth = sum(getattr(self, task) * values for task, values in tasks.items())
        total: FloatArray = (worth * np.where(stocks == 0, self.out_of_stock, 1.0)).astype(np.float32)
        return total
