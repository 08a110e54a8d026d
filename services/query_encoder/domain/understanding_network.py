"""One shared layer and a head for each question about a query, in plain numpy: some tens of microseconds.

Calibration: each head's logits are divided by its temperature (Guo et al., ICML 2017), chosen on queries held back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
INTENT, CATEGORY, SENTIMENT, TAGS = HEADS = ("intent", "category", "sentiment", "tags")


@dataclass(frozen=True)
class UnderstandingNetwork:
    """relu(vector @ trunk + sum(grams[ids]) / sqrt(n) + bias) @ output + output_bias, cut into heads.

    Shapes: `trunk` [dimensions, h], `grams` [BUCKETS, h], `bias` [h], `output` [h, c], `output_bias` [c], c the number
    of labels of all heads. A query without a vector has a row of zeros.
    """

    trunk: FloatArray
    grams: FloatArray
    bias: FloatArray
    output: FloatArray
    output_bias: FloatArray

    def logits(self, vector: FloatArray | None, ids: npt.NDArray[np.int64]) -> FloatArray:
        """Shape [c]."""
        scores: FloatArray = self.hidden(vector, ids) @ self.output + self.output_bias
        return scores

    def hidden(self, vector: FloatArray | None, ids: npt.NDArray[np.int64]) -> FloatArray:
        """What all heads share, shape [h]."""
        hidden = self.bias
        if vector is not None:
            hidden = hidden + vector @ self.trunk
        if len(ids):
            hidden = hidden + self.grams[ids].sum(0) / np.sqrt(np.float32(len(ids)))
        return np.maximum(hidden, 0)


@dataclass(frozen=True)
class Labels:
    """What each head may answer, in the order of its columns, and its temperature.

    The first category is "", for a query that names none. Tags are (attribute, value).
    """

    intent: Sequence[str]
    category: Sequence[str]
    sentiment: Sequence[str]
    tags: Sequence[tuple[str, str]]
    temperatures: Mapping[str, float]

    def slices(self) -> dict[str, slice]:
        found, start = {}, 0
        for head in HEADS:
            end = start + len(getattr(self, head))
            found[head], start = slice(start, end), end
        return found


def softmax(logits: FloatArray, temperature: float) -> FloatArray:
    scaled = np.exp((logits - logits.max()) / temperature)
    probabilities: FloatArray = scaled / scaled.sum()
    return probabilities


def sigmoid(logits: FloatArray, temperature: float) -> FloatArray:
    probabilities: FloatArray = 1 / (1 + np.exp(-np.clip(logits / temperature, -30, 30)))
    return probabilities
