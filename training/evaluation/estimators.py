"""Off-policy estimators of the value of a policy: IPS, SNIPS, DM, DR and SWITCH-DR.

An observation is one decision of the logging policy: a product at a place, or an action. With weights w = P(action |
target) / P(action | logging), rewards r, a reward model q, and q(target) the mean of q over the target's actions:

    IPS     w r                              unbiased with full overlap; high variance
    SNIPS   w r / mean(w)                    lower variance; a bias that falls with the size of the log
    DM      q(target)                        low variance; as wrong as the model
    DR      q(target) + w (r - q)            unbiased if the weights or the model are right
    SWITCH  as DR where w <= t, as DM beyond it: t is chosen by an estimate of the squared error

Horvitz and Thompson (1952); Swaminathan and Joachims (NIPS 2015); Dudik, Langford and Li (ICML 2011); Wang, Agarwal and
Dudik (ICML 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from training.evaluation.estimates import Doubles, Estimate, Integers

# Thresholds of SWITCH that are compared: these quantiles of the weights, and none.
_QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Logged:
    """n observations. A value is the mean over units of the sum of their observations' rewards.

    `weights` [n] and `rewards` [n]; `predicted` [n]: the reward model at the logged action; `expected` [n]: its mean
    over the target's actions. The model must not have been fitted to the observation's own group. `units` and `groups`
    [n]: numbers from 0 without gaps; all observations of a unit are in one group.
    """

    rewards: Doubles
    weights: Doubles
    predicted: Doubles
    expected: Doubles
    units: Integers
    groups: Integers

    def __post_init__(self) -> None:
        if not len(self.rewards):
            raise ValueError("the log has no observation; nothing can be estimated")
        if not (np.isfinite(self.weights).all() and (self.weights >= 0).all()):
            raise ValueError("weights must be finite and not negative: every logged action needs a propensity above 0")

    def mean(self, terms: Doubles) -> Estimate:
        return Estimate.of_sums(terms, self.units, self.groups)

    def take(self, rows: Integers) -> Logged:
        """These observations; units and groups are numbered anew."""
        found = {name: getattr(self, name)[rows] for name in ("rewards", "weights", "predicted", "expected")}
        units, groups = (np.unique(each[rows], return_inverse=True)[1] for each in (self.units, self.groups))
        return Logged(**found, units=units, groups=groups)


def logged_value(log: Logged) -> Estimate:
    """Of the policy that made the log: the mean reward."""
    return log.mean(log.rewards)


def ips(log: Logged) -> Estimate:
    return log.mean(log.weights * log.rewards)


def snips(log: Logged) -> Estimate:
    """With the weights' sum in place of the number of observations; the interval is that of a ratio."""
    total = log.weights.sum()
    if not total:
        return Estimate(float("nan"), log.mean(log.weights).influence)
    per_observation = float(log.weights @ log.rewards / total)
    scale = len(log.rewards) / total
    found = log.mean(scale * log.weights * (log.rewards - per_observation))
    return Estimate(per_observation * len(log.rewards) / (int(log.units.max()) + 1), found.influence)


def dm(log: Logged) -> Estimate:
    """The interval is that of the sample; it does not contain the error of the model."""
    return log.mean(log.expected)


def dr(log: Logged) -> Estimate:
    return log.mean(log.expected + log.weights * (log.rewards - log.predicted))


def switch_dr(log: Logged) -> Estimate:
    """With the threshold of the least estimated squared error, variance + squared bias.

    The bias is estimated by what lies beyond the threshold. It is not known better than with DR's error: the interval
    has that width.
    """
    residuals, whole = log.rewards - log.predicted, dr(log)
    best, least = whole.value, np.inf
    for threshold in (*np.quantile(log.weights, _QUANTILES), np.inf):
        kept = np.where(log.weights <= threshold, log.weights, 0.0)
        found = log.mean(log.expected + kept * residuals)
        error = found.error**2 + log.mean((log.weights - kept) * residuals).value ** 2
        if error < least:
            best, least = found.value, error
    return Estimate(best, whole.influence)


ESTIMATORS: Mapping[str, Callable[[Logged], Estimate]] = {
    "ips": ips, "snips": snips, "dm": dm, "dr": dr, "switch-dr": switch_dr,
}  # fmt: skip


@dataclass(frozen=True)
class Overlap:
    """Whether the log says enough of the target.

    `effective`: (sum w)^2 / sum w^2 (Kish), the number of observations under the target that the log is worth;
    `observations` of the log. `largest`: the share of the greatest weight in their sum. `covered`: the share of the
    target's actions that the log could have shown; what it could not is worth nothing to IPS, and to DR what the model
    says.
    """

    observations: int
    effective: float
    largest: float
    covered: float

    @classmethod
    def of(cls, weights: Doubles, covered: float | None = None) -> Overlap:
        """Without `covered`, the mean weight estimates it."""
        total = float(weights.sum())
        share = total / len(weights) if covered is None else covered
        if not total:
            return cls(len(weights), 0.0, 0.0, share)
        return cls(
            len(weights), total**2 / float(np.square(weights).sum()), float(weights.max()) / total, share
        )  # fmt: skip
