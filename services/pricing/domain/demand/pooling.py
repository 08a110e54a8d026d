"""Partial pooling: how the coefficients of products spread around those of their category and brand.

A product's coefficients are the shop's mean + an effect of each of its groups (category, brand) + its own deviation,
all normal. Means and effects are found by block-wise updates, the covariances by expectation-maximisation (empirical
Bayes) with an inverse-Wishart prior, which matters only where a group has few members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.pricing.domain.demand.observations import Floats, Ints

# Weight of the prior covariance, in members.
_PRIOR_MEMBERS = 4.0


@dataclass(frozen=True)
class Evidence:
    """What sales say of the coefficients of each unit: precision [units, k, k] and precision · mean [units, k]."""

    precision: Floats
    shift: Floats


@dataclass
class Effects:
    """Of the groups of one kind, by level: `mean` [levels, k], `covariance` [levels, k, k]; their `spread` [k, k]."""

    mean: Floats
    covariance: Floats
    spread: Floats

    @classmethod
    def unknown(cls, levels: int, spread: Floats) -> Effects:
        k = len(spread)
        return cls(np.zeros((levels, k)), np.broadcast_to(spread, (levels, k, k)).copy(), spread.copy())

    def extend(self, levels: int) -> None:
        """Adds groups that nothing is known of, up to `levels`."""
        more = Effects.unknown(levels - len(self.mean), self.spread)
        self.mean = np.concatenate([self.mean, more.mean])
        self.covariance = np.concatenate([self.covariance, more.covariance])


@dataclass
class Pooling:
    """`shop`: the mean, as the only level of its kind. `own`: covariance [k, k] of a product around its groups."""

    prior_mean: Floats
    prior_variance: Floats
    prior_spread: Floats
    shop: Effects
    groups: list[Effects]
    own: Floats

    @classmethod
    def unknown(cls, mean: Floats, mean_variance: Floats, spread: Floats, kinds: int) -> Pooling:
        """Nothing is known beside the shop's `mean` with `mean_variance`. `kinds` of groups, without any level yet."""
        shop = Effects(mean[None, :].copy(), mean_variance[None].copy(), mean_variance.copy())
        return cls(mean, mean_variance, spread, shop, [Effects.unknown(0, spread) for _ in range(kinds)], spread.copy())

    @classmethod
    def none(cls, mean: Floats, variance: Floats) -> Pooling:
        """Each unit alone around `mean`; `learn` must not be called."""
        shop = Effects(mean[None, :].copy(), np.zeros((1, *variance.shape)), variance)
        return cls(mean, variance, variance, shop, [], variance)

    def arrays(self) -> dict[str, Floats]:
        """What was learned. `restore` takes it."""
        made = {"own": self.own}
        for name, effects in self._named():
            made |= {
                f"{name}_mean": effects.mean,
                f"{name}_covariance": effects.covariance,
                f"{name}_spread": effects.spread,
            }
        return made

    def restore(self, arrays: Mapping[str, Floats]) -> None:
        self.own = arrays["own"]
        for name, effects in self._named():
            effects.mean, effects.covariance = arrays[f"{name}_mean"], arrays[f"{name}_covariance"]
            effects.spread = arrays[f"{name}_spread"]

    def _named(self) -> list[tuple[str, Effects]]:
        return [("shop", self.shop), *((f"group{number}", effects) for number, effects in enumerate(self.groups))]

    def expected(self, units: int, codes: Sequence[Ints]) -> tuple[Floats, Floats]:
        """Mean [units, k] and covariance [units, k, k] of what the groups say of a unit. `codes`: of each kind of
        group, the level of each unit.
        """
        mean = np.broadcast_to(self.shop.mean[0], (units, self.shop.mean.shape[1])).copy()
        covariance = np.broadcast_to(self.shop.covariance[0], (units, *self.own.shape)).copy()
        for effects, code in zip(self.groups, codes, strict=True):
            mean += effects.mean[code]
            covariance += effects.covariance[code]
        return mean, covariance

    def posterior(self, evidence: Evidence, codes: Sequence[Ints]) -> tuple[Floats, Floats]:
        """Mean [units, k] and covariance [units, k, k] of the coefficients of the units."""
        mean, uncertainty = self.expected(len(evidence.shift), codes)
        own_precision = np.linalg.inv(self.own)
        own = np.linalg.inv(evidence.precision + own_precision)
        found = np.einsum("ujk,uk->uj", own, evidence.shift + mean @ own_precision)
        weight = own @ own_precision
        return found, _symmetric(own + weight @ uncertainty @ np.swapaxes(weight, 1, 2))

    def learn(self, evidence: Evidence, codes: Sequence[Ints], rounds: int) -> None:
        """Moves means, effects and covariances towards the evidence. Costs O(units · k³) a round."""
        for _ in range(rounds):
            own_precision = np.linalg.inv(self.own)
            own = np.linalg.inv(evidence.precision + own_precision)
            # What the units say of the mean that their groups give, with their own deviations integrated out.
            said = Evidence(
                np.asarray(own_precision - own_precision @ own @ own_precision, dtype=np.float64),
                np.einsum("jk,ukl,ul->uj", own_precision, own, evidence.shift),
            )
            expected, _ = self.expected(len(evidence.shift), codes)
            everybody = np.zeros(len(expected), np.int64)
            expected = _update(self.shop, said, expected, everybody, self.prior_variance, self.prior_mean)
            for effects, code in zip(self.groups, codes, strict=True):
                expected = _update(effects, said, expected, code, effects.spread, np.zeros(len(self.own)))
                effects.spread = self._covariance(effects.mean, effects.covariance)
            deviation = np.einsum("ujk,uk->uj", own, evidence.shift + expected @ own_precision) - expected
            self.own = self._covariance(deviation, own)

    def _covariance(self, means: Floats, covariances: Floats) -> Floats:
        total = _PRIOR_MEMBERS * self.prior_spread + means.T @ means + covariances.sum(axis=0)
        return _symmetric(total / (_PRIOR_MEMBERS + len(means)))


def _update(
    effects: Effects, said: Evidence, expected: Floats, code: Ints, prior_variance: Floats, prior_mean: Floats
) -> Floats:  # fmt: skip
    """Sets the effects of one kind of group, given the others. Returns the new expected coefficients of the units."""
    levels, k = effects.mean.shape
    others, prior_precision = expected - effects.mean[code], np.linalg.inv(prior_variance)
    totals = np.zeros((levels, k, k))
    np.add.at(totals, code, said.precision)
    shifts = np.zeros((levels, k))
    np.add.at(shifts, code, said.shift - np.einsum("ujk,uk->uj", said.precision, others))
    effects.covariance = _symmetric(np.linalg.inv(totals + prior_precision))
    effects.mean = np.einsum("gjk,gk->gj", effects.covariance, shifts + prior_precision @ prior_mean)
    return others + effects.mean[code]


def _symmetric(matrix: NDArray[np.floating[Any]]) -> Floats:
    return np.asarray((matrix + np.swapaxes(matrix, -1, -2)) / 2, dtype=np.float64)
