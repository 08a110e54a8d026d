"""v_q = alpha * q + beta * mean(context), normalised: the words first, what surrounds them second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def mix(query: FloatArray, context: Sequence[FloatArray], alpha: float, beta: float) -> FloatArray:
    """`query` and each of `context` have shape [dimensions] and unit length; so has the answer.

    Without context the answer is `query` itself.
    """
    if not context:
        return query
    mixed = alpha * query + beta * np.mean(context, axis=0)
    length = float(np.linalg.norm(mixed))
    return (mixed / length).astype(np.float32) if length > 1e-6 else query
