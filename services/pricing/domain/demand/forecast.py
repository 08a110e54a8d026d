"""What the model expects of some units in one period: demand as a function of the price, with its uncertainty."""

from __future__ import annotations

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
class Elasticity:
    """Change of demand in per cent for one per cent of price. `low` and `high` bound the central 90 %."""

    mean: float
    low: float
    high: float


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

    def elasticity(self, index: int, price: float) -> Elasticity:
        """Of the unit at `index`, at this price."""
        slope = np.zeros(self.mean.shape[1])
        slope[_PRICE] = 1.0
        if self.gap is not None:
            position, competitor = self.gap
            slope[position] = np.nan_to_num(competitor[index] - np.log(price / self.reference_price[index]))
        mean = float(slope @ self.mean[index])
        half = Z90 * float(np.sqrt(slope @ self.covariance[index] @ slope))
        return Elasticity(mean, mean - half, mean + half)

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
