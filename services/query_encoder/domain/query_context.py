"""The vectors of a query, and the context that moves them: the session and the category that the shopper is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray


@dataclass(frozen=True)
class QueryContext:
    """`session` is a vector of the session so far, shape [dimensions]; None: no session. `session_version` names the
    model that made it. `category` has the words of the category; empty: no category.
    """

    session: FloatArray | None = None
    session_version: str = ""
    category: str = ""


@dataclass(frozen=True)
class QueryVectors:
    """Vectors of one query by one model, each of shape [dimensions]. Both are None if the model does not know the text.

    `plain` is the vector of the text alone, `in_context` the one that retrieval gets.
    """

    model_version: str
    plain: FloatArray | None
    in_context: FloatArray | None


def mix(query: FloatArray, context: Sequence[FloatArray], alpha: float, beta: float) -> FloatArray:
    """alpha * query + beta * mean(context), scaled to length 1.

    `query` and each of `context` have shape [dimensions] and length 1. Without context the answer is `query` itself.
    """
    if not context:
        return query
    mixed = alpha * query + beta * np.mean(context, axis=0)
    length = float(np.linalg.norm(mixed))
    return (mixed / length).astype(np.float32) if length > 1e-6 else query
