"""Comparisons that may be looked at at any time: the probability of any wrong conclusion over all looks is bounded.

The interval is an asymptotic confidence sequence for a difference of means (Waudby-Smith, Arbour, Sinha, Kennedy and
Ramdas 2021), which is the mixture sequential probability ratio test (Robbins 1970; Johari, Pekelis and Walsh 2015) with
a normal mixture: its width at n units is `width(n)` standard errors. docs/decisions/0064-ab-tests.md says why it also
holds for units that go on buying.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# With fewer units in an arm nothing is concluded: intervals rest on the central limit theorem.
LEAST_UNITS = 100
# How many units the prior of the sample-ratio test is worth: the more, the smaller the deviations that it is made for.
_RATIO_PRIOR = 1_000.0


@dataclass(frozen=True)
class Difference:
    """Of the means of two arms. `units`: of both together."""

    value: float
    standard_error: float
    units: int

    def interval(self, planned: float, alpha: float) -> tuple[float, float]:
        """Holds at all looks together with probability 1 - alpha. Tightest, in standard errors, at `planned` units."""
        apart = self.standard_error * width(self.units, planned, alpha)
        return self.value - apart, self.value + apart

    def p_value(self, planned: float, alpha: float) -> float:
        """Below a only if the interval of a excludes 0; for any a, with the mixture that is made for `alpha`."""
        if not self.standard_error > 0:
            return 1.0
        mixture = _mixture(self.units, planned, alpha)
        z = self.value / self.standard_error
        return min(1.0, math.sqrt(1 + mixture) * math.exp(-z * z / 2 * mixture / (1 + mixture)))


def width(units: float, planned: float, alpha: float) -> float:
    """Half of the interval, in standard errors."""
    mixture = _mixture(units, planned, alpha)
    return math.sqrt((1 + mixture) / mixture * (2 * math.log(1 / alpha) + math.log1p(mixture)))


def _mixture(units: float, planned: float, alpha: float) -> float:
    """The variance of the mixture in squared standard errors."""
    twice = -2 * math.log(alpha)
    return max(units, 1) / planned * (twice + math.log1p(twice))


def difference_of(control: Floats, other: Floats) -> Difference:
    """Of values of units, one each. An arm whose units are all alike counts as if one of them had the other's value."""
    value = float(other.mean() - control.mean())
    variance = sum(max(float(arm.var(ddof=1)), value**2 / len(arm)) / len(arm) for arm in (control, other))
    return Difference(value, math.sqrt(variance), len(control) + len(other))


def linearised(numerators: Floats, denominators: Floats) -> Floats:
    """One value a unit, whose mean is the ratio of the sums, and whose variance is the ratio's (delta method).

    Raises ZeroDivisionError if all denominators are 0.
    """
    mean = float(denominators.mean())
    if mean == 0:
        raise ZeroDivisionError("no unit has a denominator")
    ratio = float(numerators.mean()) / mean
    values: Floats = ratio + (numerators - ratio * denominators) / mean
    return values


def adjusted(values: Sequence[Floats], before: Sequence[Floats]) -> list[Floats]:
    """CUPED (Deng, Xu, Kohavi and Walker 2013): the values without what was known before.

    `values` and `before` [units, covariates] by arm. One regression within arms for all of them, so that the mean
    difference is kept in expectation. Unchanged if the covariates do not vary.
    """
    centred = [of - of.mean(axis=0) for of in before]
    within = np.concatenate(centred)
    varying = within.std(axis=0) > 0
    if not varying.any() or len(within) <= 10 * varying.sum():
        return list(values)
    residuals = np.concatenate([of - of.mean() for of in values])
    slopes, *_ = np.linalg.lstsq(within[:, varying], residuals, rcond=None)
    overall = np.concatenate(list(before))[:, varying].mean(axis=0)
    return [of - (known[:, varying] - overall) @ slopes for of, known in zip(values, before, strict=True)]


def ratio_p_value(units: Mapping[str, int], shares: Mapping[str, float]) -> float:
    """Whether arms have the units that their shares promise: valid at this look; over several looks take the smallest.

    The multinomial mixture test of Lindon and Malek 2020. `units` and `shares` by arm.
    """
    whole = sum(shares.values())
    log_odds, total = 0.0, sum(units.values())
    for arm, share in shares.items():
        prior = _RATIO_PRIOR * share / whole
        log_odds += math.lgamma(prior + units[arm]) - math.lgamma(prior) - units[arm] * math.log(share / whole)
    log_odds += math.lgamma(_RATIO_PRIOR) - math.lgamma(_RATIO_PRIOR + total)
    return min(1.0, math.exp(-max(log_odds, 0.0)))
