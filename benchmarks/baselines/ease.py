"""EASE (Steck, WWW 2019): a linear model of items in closed form, one inverse of an items × items matrix in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg import lapack

from benchmarks.baselines.data import IntArray
from benchmarks.baselines.evaluation import FloatArray, Scorer
from benchmarks.baselines.neighbours import fading

GRID: Sequence[dict[str, Any]] = [{"ridge": ridge} for ridge in (10.0, 50.0, 200.0, 500.0)]


def ease(sequences: Sequence[IntArray], item_count: int, ridge: float) -> Scorer:
    """Scores are sums of weights [items, items] over a history; 18,000 items take 1.3 GB, and twice that at once."""
    interactions = _binary(fading(sequences, item_count, 1.0))
    inverse = np.asarray((interactions.T @ interactions).todense(), np.float32, order="F")
    inverse[np.diag_indices(item_count)] += ridge
    # Cholesky in place: half the work of a general inverse and no copy. Only the lower triangle is written.
    inverse, failed = lapack.spotrf(inverse, lower=1, overwrite_a=1)
    if failed:
        raise ArithmeticError(f"the matrix is not positive definite; use a larger ridge than {ridge}")
    inverse, _ = lapack.spotri(inverse, lower=1, overwrite_c=1)
    _mirror(inverse)
    # The transpose, which is equal, has the order of C: scipy copies any other for each product.
    weights = inverse.T / -inverse.diagonal()[None, :]
    del inverse
    np.fill_diagonal(weights, 0)
    return lambda histories: np.asarray(_binary(fading(histories, item_count, 1.0)) @ weights, np.float32)


def _binary(counts: sp.csr_matrix) -> sp.csr_matrix:
    counts.data[:] = 1
    return counts


def _mirror(lower: FloatArray, block: int = 2_048) -> None:
    """Copies the lower triangle to the upper one, block by block: without a copy of the matrix."""
    size = len(lower)
    for start in range(0, size, block):
        own = slice(start, start + block)
        square = lower[own, own]
        lower[own, own] = np.tril(square) + np.tril(square, -1).T
        lower[own, start + block :] = lower[start + block :, own].T
