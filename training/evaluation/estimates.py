"""An estimated value with its interval, and the difference of two values that were estimated from the same log."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A value of one unit (a decision, or a whole ranking). `influence` [groups]: what each group adds to its error.

    A group holds the units that depend on each other, those of one person. The influences of two estimates from the
    same log are paired: their difference is that of the estimates.
    """

    value: float
    influence: Doubles

    @property
    def error(self) -> float:
        """Standard error, robust against dependence within a group; infinite with fewer than two groups."""
        count = len(self.influence)
        if count < 2:
            return float("inf")
        return float(np.sqrt(count / (count - 1) * np.square(self.influence).sum()))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """By the central limit theorem over the groups."""
        half = NormalDist().inv_cdf((1 + confidence) / 2) * self.error
        return self.value - half, self.value + half

    def minus(self, other: Estimate) -> Estimate:
        return Estimate(self.value - other.value, self.influence - other.influence)

    @classmethod
    def of_sums(cls, terms: Doubles, units: Integers, groups: Integers) -> Estimate:
        """The mean over units of the sum of their terms. `terms` [n]; `units` and `groups` [n] are numbers from 0."""
        unit_count, group_count = int(units.max()) + 1, int(groups.max()) + 1
        value = float(terms.sum()) / unit_count
        # The units of a group count once each, however many terms they have.
        of_unit = np.zeros(unit_count, np.int64)
        of_unit[units] = groups
        sums = np.bincount(groups, terms, group_count)
        sizes = np.bincount(of_unit, minlength=group_count)
        return cls(value, (sums - value * sizes) / unit_count)
