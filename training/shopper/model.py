"""A fitted shopper model: item vectors, their map, and the user side."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from services.common.arrays import FloatArray
from training.shopper.data import IntArray
from training.shopper.evaluation import Scorer
from training.shopper.network import ShopperNetwork
from training.shopper.windows import Windows


@dataclass(frozen=True)
class ShopperModel:
    network: ShopperNetwork

    @cached_property
    def items(self) -> FloatArray:
        """[n, width], as they are served: in float16."""
        self.network.eval()
        with torch.inference_mode():
            found: FloatArray = self.network.items().numpy().astype(np.float16).astype(np.float32)
        return found

    def persons(self, windows: Windows, events: IntArray) -> FloatArray:
        """[b, width] before these events."""
        self.network.eval()
        with torch.inference_mode():
            found: FloatArray = self.network.persons(torch.from_numpy(self.items), windows.before(events)).numpy()
        return found

    def scorer(self, windows: Windows) -> Scorer:
        """Dot products with all items."""

        def score(events: IntArray) -> FloatArray:
            found: FloatArray = self.persons(windows, events) @ self.items.T
            return found

        return score
