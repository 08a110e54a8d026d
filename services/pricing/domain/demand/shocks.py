"""Demand shocks that the products of a category share in a period: weather, holidays, traffic of the shop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from services.pricing.domain.demand.observations import Floats, Ints

# Start of the variance and of the correlation with the period before, and their weight in shocks.
_VARIANCE, _PERSISTENCE, _PRIOR_SHOCKS = 0.02, 0.3, 20.0
# The period of a shock that is not known.
_NEVER = -(10**9)


class Shocks:
    """Normal around 0. `variance` of a shock; `persistence`: its correlation from one period to the next."""

    def __init__(self) -> None:
        self.last = np.zeros(0)
        self.last_period = np.zeros(0, np.int64)
        # Of shocks: number, squares, products of neighbours, squares of the earlier of the two.
        self.sums = np.zeros(4)

    @property
    def variance(self) -> float:
        return float((_PRIOR_SHOCKS * _VARIANCE + self.sums[1]) / (_PRIOR_SHOCKS + self.sums[0]))

    @property
    def persistence(self) -> float:
        prior = _PRIOR_SHOCKS * _VARIANCE
        return float(np.clip((prior * _PERSISTENCE + self.sums[2]) / (prior + self.sums[3]), 0.0, 0.99))

    def arrays(self) -> dict[str, Floats | Ints]:
        """What was learned. `restore` takes it."""
        return {"last": self.last, "last_period": self.last_period, "sums": self.sums}

    def restore(self, arrays: Mapping[str, Any]) -> None:
        self.last, self.last_period, self.sums = arrays["last"], arrays["last_period"], arrays["sums"]

    def add(self, categories: int) -> None:
        """Adds categories without a shock, up to `categories`."""
        more = categories - len(self.last)
        self.last = np.append(self.last, np.zeros(more))
        self.last_period = np.append(self.last_period, np.full(more, _NEVER))

    def expected(self, category: Ints, period: Ints) -> Floats:
        """Of the next periods: the last known shock, fading."""
        gap = np.maximum(period - self.last_period[category], 0)
        return np.asarray(self.last[category] * self.persistence ** np.minimum(gap, 1_000))

    def estimate(self, category: Ints, period: Ints, residual: Floats, weight: Floats) -> tuple[Floats, Floats]:
        """The shock of each row from the other rows of its category and period, and its variance."""
        _, group = _groups(category, period)
        total, weights = np.bincount(group, weight * residual), np.bincount(group, weight)
        precision = weights[group] - weight + 1 / self.variance
        return (total[group] - weight * residual) / precision, 1 / precision

    def remember(self, category: Ints, period: Ints, residual: Floats, weight: Floats, is_anew: bool) -> None:
        """Learns variance and persistence from the shocks of these rows, and keeps the last one of each category.

        `is_anew`: from these rows alone.
        """
        pairs, group = _groups(category, period)
        precision = np.bincount(group, weight) + 1 / self.variance
        shock = np.bincount(group, weight * residual) / precision
        if is_anew:
            self.sums[:], self.last[:], self.last_period[:] = 0, 0, _NEVER
        known_last, known_period = self.last.copy(), self.last_period.copy()
        # Sorted by category, then period: the neighbour of a row is the row before, or the last one known.
        is_first = np.append(True, pairs[1:, 0] != pairs[:-1, 0])
        before = np.where(is_first, known_last[pairs[:, 0]], np.append(0.0, shock[:-1]))
        gap = pairs[:, 1] - np.where(is_first, known_period[pairs[:, 0]], np.append(0, pairs[:-1, 1]))
        follows = gap == 1
        self.sums += (
            len(shock), float(np.sum(shock**2 + 1 / precision)),
            float(np.sum((shock * before)[follows])), float(np.sum((before**2)[follows])),
        )  # fmt: skip
        is_last = np.append(pairs[1:, 0] != pairs[:-1, 0], True)
        newer = is_last & (pairs[:, 1] > known_period[pairs[:, 0]])
        self.last[pairs[newer, 0]], self.last_period[pairs[newer, 0]] = shock[newer], pairs[newer, 1]


def _groups(category: Ints, period: Ints) -> tuple[Ints, Ints]:
    """The pairs of category and period [groups, 2], sorted, and the group of each row."""
    pairs, group = np.unique(np.stack([category, period], axis=1), axis=0, return_inverse=True)
    return pairs, group.reshape(-1)
