"""Confidence intervals by the bootstrap (Efron, 1979)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_DRAWS = 2_000


def mean_interval(values: npt.NDArray[np.floating], seed: int, digits: int = 4) -> tuple[float, float]:
    """95 % interval of the mean of `values` [n]; NaNs are ignored. Paired differences give a paired interval."""
    finite = values[np.isfinite(values)]
    random, n = np.random.default_rng(seed), len(finite)
    # One draw at a time: all draws together would take 2,000 times the memory of the values.
    means = [finite[random.integers(0, n, n)].mean() for _ in range(_DRAWS)]
    low, high = np.percentile(means, [2.5, 97.5])
    return round(float(low), digits), round(float(high), digits)


def median_interval(values: npt.NDArray[np.floating], seed: int, digits: int = 4) -> tuple[float, float]:
    """95 % interval of the median of all `values` [n, k]. The rows are drawn, as those of one row belong together."""
    random, n = np.random.default_rng(seed), len(values)
    medians = [np.median(values[random.integers(0, n, n)]) for _ in range(_DRAWS)]
    low, high = np.percentile(medians, [2.5, 97.5])
    return round(float(low), digits), round(float(high), digits)
