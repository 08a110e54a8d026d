"""The coefficients of demand: their columns, and what is assumed of them before any sale is seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.common.errors import InvalidArgument
from services.pricing.domain.demand.observations import Floats, Observations

BASE, PRICE, COMPETITOR, GAP = "base", "price", "competitor", "gap"


@dataclass(frozen=True)
class Coefficient:
    """A coefficient of log demand. Over the shop its mean is about `mean` ± `mean_sd`; categories, brands and products
    differ from each other by about `spread`, which is only the start: the data decide.
    """

    name: str
    mean: float
    mean_sd: float
    spread: float
    # From the rows, and log(price / reference price), to the column.
    column: Callable[[Observations, Floats], Floats]


_ALL = {
    made.name: made
    for made in (
        Coefficient(BASE, 0.0, 10.0, 1.0, lambda rows, log_price: np.ones(rows.unit.size)),
        # The own-price elasticity. Published estimates for consumer goods lie between -1 and -4 (Bijmolt et al., 2005:
        # mean -2.6).
        Coefficient(PRICE, -2.5, 1.0, 0.5, lambda rows, log_price: log_price),
        Coefficient("promotion", 0.3, 0.5, 0.3, lambda rows, log_price: rows.promotion),
        Coefficient("season_sin", 0.0, 0.3, 0.1, lambda rows, log_price: np.sin(2 * np.pi * rows.season)),
        Coefficient("season_cos", 0.0, 0.3, 0.1, lambda rows, log_price: np.cos(2 * np.pi * rows.season)),
        Coefficient("age", 0.0, 0.3, 0.2, lambda rows, log_price: rows.age_years),
        Coefficient("substitutes", 0.5, 0.5, 0.3, lambda rows, log_price: np.log(rows.substitutes)),
        # A competitor's price moves the level of demand, and its own-price elasticity: see `gap_column`.
        Coefficient(COMPETITOR, 0.5, 0.5, 0.3, lambda rows, log_price: _log_or(rows.competitor, 0.0)),
        Coefficient(GAP, 2.0, 2.0, 1.0, lambda rows, log_price: gap_column(log_price, log_competitor(rows))),
    )
}
COEFFICIENTS = tuple(_ALL)


def log_competitor(rows: Observations) -> Floats:
    """[rows]; NaN where none was observed."""
    return _log_or(rows.competitor, np.nan)


def gap_column(log_price: Floats, competitor: Floats) -> Floats:
    """How far the own price is from the competitor's, both in logs and relative to what they are usually.

    With the coefficient h demand has the own-price elasticity `price` - h · (log price - log competitor): it grows
    where the own price is the higher one, as in every model in which shoppers choose between the two. Without it the
    best price would not depend on the competitor's at all. Without an observation it is 0.
    """
    return np.asarray(np.nan_to_num(-((log_price - competitor) ** 2) / 2))


def _log_or(values: Floats, otherwise: float) -> Floats:
    return np.where(values > 0, np.log(np.where(values > 0, values, 1.0)), otherwise)


class Design:
    """The chosen coefficients; `base` and `price` come first, always.

    `elasticity`: mean and standard deviation of the shop's mean elasticity, where more is known than by default. Raises
    InvalidArgument for an unknown or repeated name, and for an elasticity that is no number.
    """

    def __init__(self, names: Sequence[str] = (), elasticity: tuple[float, float] | None = None) -> None:
        chosen = [BASE, PRICE, *(name for name in names if name not in (BASE, PRICE))]
        for name in chosen:
            if name not in _ALL:
                raise InvalidArgument.of("coefficients", f"{name!r} is unknown; choose of {', '.join(COEFFICIENTS)}")
        if len(set(chosen)) != len(chosen):
            raise InvalidArgument.of("coefficients", f"{chosen} names one twice; name each once")
        self.names = tuple(chosen)
        made = [_ALL[name] for name in chosen]
        self._columns = [each.column for each in made]
        self.mean = np.array([each.mean for each in made])
        self.mean_variance = np.diag([each.mean_sd**2 for each in made])
        self.spread = np.diag([each.spread**2 for each in made])
        if elasticity is not None:
            mean, deviation = elasticity
            if not (np.isfinite(mean) and 0 < deviation < np.inf):
                raise InvalidArgument.of("elasticity", f"is {elasticity}; give a number and a positive deviation")
            self.mean[1], self.mean_variance[1, 1] = mean, deviation**2

    def matrix(self, rows: Observations, log_price: Floats) -> Floats:
        """[rows, coefficients]"""
        return np.stack([column(rows, log_price) for column in self._columns], axis=1)
