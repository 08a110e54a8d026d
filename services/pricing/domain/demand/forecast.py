"""What the model expects of some units in one period: demand as a function of the price, with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from services.pricing.domain.demand.design import gap_column
from services.pricing.domain.demand.observations import Floats

# Position of the elasticity among the coefficients.
_PRICE = 1
# Beyond it exp() of log demand says nothing any more: 3e17 pieces.
_MAX_LOG_UNITS = 40.0
# Half the width of a 90 % interval of the normal distribution, in standard deviations.
Z90 = 1.6448536


@dataclass(frozen=True)
class Estimate:
    """`low` and `high` bound the central 90 %."""

    mean: float
    low: float
    high: float

    def times(self, factor: float) -> Estimate:
        low, high = sorted((factor * self.low, factor * self.high))
        return Estimate(factor * self.mean, low, high)


@dataclass(frozen=True)
class DemandCurve:
    """What is known of one unit in one period. With x = log(price / reference_price), log pieces are
    level + slope · x - bend / 2 · x², the first two normal with these variances and this covariance. The noise of the
    period is not part of it. `bend` is 0 unless a competitor's price was observed.
    """

    reference_price: float
    level: float
    slope: float
    level_variance: float
    covariance: float
    slope_variance: float
    bend: float = 0.0

    @property
    def elasticity(self) -> Estimate:
        """Change of demand in per cent for one per cent of price, at the reference price."""
        half = Z90 * math.sqrt(self.slope_variance)
        return Estimate(self.slope, self.slope - half, self.slope + half)

    def units(self, price: float) -> Estimate:
        """Expected pieces of the period. `price` is positive."""
        at = math.log(price / self.reference_price)
        mean = self.level + self.slope * at - self.bend / 2 * at * at
        return _of_log(mean, self.level_variance + 2 * self.covariance * at + self.slope_variance * at * at)

    def ratio(self, price: float, other: float) -> Estimate:
        """Pieces at `price`, divided by those at `other`: the level cancels out."""
        at, before = math.log(price / self.reference_price), math.log(other / self.reference_price)
        mean = self.slope * (at - before) - self.bend / 2 * (at * at - before * before)
        return _of_log(mean, self.slope_variance * (at - before) ** 2)


def _of_log(mean: float, variance: float) -> Estimate:
    half, variance = Z90 * math.sqrt(max(variance, 0.0)), max(variance, 0.0)
    return Estimate(*(math.exp(min(each, _MAX_LOG_UNITS)) for each in (mean + variance / 2, mean - half, mean + half)))


@dataclass(frozen=True)
class Forecast:
    """For n units and k coefficients.

    rows             [n, k] the columns of the design; that of the price is ignored
    mean             [n, k] posterior mean of the coefficients, `covariance` [n, k, k]
    offset           [n] log of the exposure, plus the expected demand shock of the category
    noise            [n] variance of log demand from period to period
    reference_price  [n]
    gap              position of the column of design.gap_column, and the logs of the competitors' prices [n], NaN
                     where none was observed; None: there is no such column
    """

    rows: Floats
    mean: Floats
    covariance: Floats
    offset: Floats
    noise: Floats
    reference_price: Floats
    gap: tuple[int, Floats] | None = None

    def curves(self) -> list[DemandCurve]:
        """Of each unit."""
        rows = self._at(self.reference_price[:, None])[:, 0]
        slopes, bends = np.zeros_like(rows), np.zeros(len(rows))
        slopes[:, _PRICE] = 1.0
        if self.gap is not None:
            position, competitor = self.gap
            slopes[:, position] = np.nan_to_num(competitor)
            bends = np.where(np.isnan(competitor), 0.0, self.mean[:, position])
        level = np.einsum("nk,nk->n", rows, self.mean) + self.offset
        of_level, of_slope = (np.einsum("njk,nk->nj", self.covariance, each) for each in (rows, slopes))
        columns = (
            self.reference_price, level, np.einsum("nk,nk->n", slopes, self.mean),
            np.einsum("nj,nj->n", rows, of_level), np.einsum("nj,nj->n", slopes, of_level),
            np.einsum("nj,nj->n", slopes, of_slope), bends,
        )  # fmt: skip
        return [DemandCurve(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]

    def log_units(self, prices: Floats) -> tuple[Floats, Floats]:
        """Mean of the log of expected demand, and its variance from what is unknown of the coefficients; both [n, m].

        `prices`: [n, m]. The noise of a period is not part of either.
        """
        rows = self._at(prices)
        mean = np.einsum("nmk,nk->nm", rows, self.mean) + self.offset[:, None]
        return mean, np.einsum("nmj,njk,nmk->nm", rows, self.covariance, rows)

    def units(self, prices: Floats) -> Floats:
        """Expected demand in pieces at `prices` [n, m]."""
        mean, variance = self.log_units(prices)
        return _exp(mean + variance / 2)

    def sampled_units(self, prices: Floats, normals: Floats) -> Floats:
        """Demand at `prices` [n, m] for coefficients drawn from the posterior with the standard normals [n, k]."""
        drawn = self.mean + np.einsum("njk,nk->nj", np.linalg.cholesky(self.covariance), normals)
        return _exp(np.einsum("nmk,nk->nm", self._at(prices), drawn) + self.offset[:, None])

    def _at(self, prices: Floats) -> Floats:
        rows = np.repeat(self.rows[:, None, :], prices.shape[1], axis=1)
        log_price = np.log(prices / self.reference_price[:, None])
        rows[:, :, _PRICE] = log_price
        if self.gap is not None:
            position, competitor = self.gap
            rows[:, :, position] = gap_column(log_price, competitor[:, None])
        return rows


def _exp(log_units: Floats) -> Floats:
    return np.asarray(np.exp(np.minimum(log_units, _MAX_LOG_UNITS)))
