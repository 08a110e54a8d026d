"""A learned order of the best candidates of the weighted sum; the others stay behind them, in its order.

A learned version serves the order of the candidates that it was trained and judged on. What is far behind is shown to
nobody, so that no outcome says what it is worth.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray

Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


def best_rows(first: FloatArray, most: int) -> Rows:
    """The rows of the `most` highest of the scores `first` [n], best first; equal scores keep their order."""
    return np.argsort(-first, kind="stable")[:most]


def with_rest_behind(first: FloatArray, best: Rows, scores: npt.NDArray[np.floating], width: float) -> Doubles:
    """[n]: `scores` [len(best)] at the rows `best`, as `best_rows` gives them; the other rows behind these.

    The others are in the order of `first` [n], at equal distances from the lowest of `scores` down to `width` below it.
    """
    rest = np.argsort(-first, kind="stable")[len(best) :]
    found = np.empty(len(first))
    found[best] = scores
    found[rest] = scores.min() - width * np.arange(1, len(rest) + 1) / (len(rest) + 1)
    return found
