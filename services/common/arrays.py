"""Two operations on arrays that several services share."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def unit_rows(rows: FloatArray) -> FloatArray:
    """Rows [..., dimensions] scaled to length 1; a zero row stays zero."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: FloatArray = (rows / np.maximum(lengths, np.float32(1e-9))).astype(np.float32)
    return scaled


def min_max(scores: FloatArray, low: float | None = None, high: float | None = None) -> FloatArray:
    """Scores [n] scaled to [0, 1] between `low` and `high`, by default their own extremes; all 1 if these are equal."""
    if low is None:
        low = float(scores.min(initial=np.inf))
    if high is None:
        high = float(scores.max(initial=-np.inf))
    if high <= low:
        return np.ones(len(scores), np.float32)
    scaled: FloatArray = ((scores - low) / (high - low)).astype(np.float32)
    return scaled
