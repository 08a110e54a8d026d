"""Double machine learning: the effect of a price where the price has reacted to the demand.

A shop raises prices when it expects much demand, so that a plain regression takes the demand for an effect of the
price. Here whatever the covariates say is first removed from both, from pieces and from price, by models that have not
seen the row (cross-fitting). What is left of the pieces is then regressed on what is left of the price: the partially
linear model of Chernozhukov et al. (2018), with its orthogonal score. It is right only if the covariates contain all
that the shop looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import lightgbm
import numpy as np
from numpy.typing import ArrayLike, NDArray

from services.common.errors import InvalidArgument

_FOLDS = 5
# With fewer rows in a fold the models find nothing.
_MIN_ROWS = 500


@dataclass(frozen=True)
class Effect:
    """`estimate` ± `standard_error`; both fit `DemandOptions.elasticity`. `price_left`: the share of the price's
    variance that covariates do not explain. Without any of it there is nothing to learn from.
    """

    estimate: float
    standard_error: float
    price_left: float


def price_effect(log_units: ArrayLike, log_price: ArrayLike, covariates: ArrayLike, seed: int = 0) -> Effect:
    """The elasticity, from rows [n], [n] and [n, covariates]. Equal arguments give equal results.

    Raises InvalidArgument for values that are not finite, lengths that differ, and fewer than 500 rows.
    """
    columns = {
        "log_units": np.asarray(log_units, dtype=np.float64),
        "log_price": np.asarray(log_price, dtype=np.float64),
        "covariates": np.asarray(covariates, dtype=np.float64),
    }
    rows = columns["log_units"].size
    if rows < _MIN_ROWS:
        raise InvalidArgument.of("log_units", f"has {rows} rows; give {_MIN_ROWS} or more")
    for name, values in columns.items():
        if values.shape[:1] != (rows,) or values.ndim != (2 if name == "covariates" else 1):
            raise InvalidArgument.of(name, f"has the shape {values.shape}; give one row for each of log_units")
        if not np.isfinite(values).all():
            raise InvalidArgument.of(name, "has values that are not finite; leave these rows out")
    fold = np.random.default_rng(seed).permutation(rows) % _FOLDS
    units_left = columns["log_units"] - _out_of_fold(columns["covariates"], columns["log_units"], fold, seed)
    price_left = columns["log_price"] - _out_of_fold(columns["covariates"], columns["log_price"], fold, seed)
    variance = float(np.mean(price_left**2))
    if variance < 1e-10:
        raise InvalidArgument.of("log_price", "is a function of the covariates; vary prices by chance, then try again")
    estimate = float(np.mean(price_left * units_left)) / variance
    score = price_left * (units_left - estimate * price_left)
    error = float(np.sqrt(np.mean(score**2) / rows)) / variance
    return Effect(estimate, error, variance / float(np.var(columns["log_price"])))


def _out_of_fold(
    covariates: NDArray[np.float64], target: NDArray[np.float64], fold: NDArray[np.int64], seed: int
) -> NDArray[np.float64]:  # fmt: skip
    """Of each row what models that have not seen its fold expect."""
    expected = np.zeros(target.size)
    for number in range(_FOLDS):
        model = lightgbm.LGBMRegressor(
            n_estimators=300, learning_rate=0.05, num_leaves=15, min_child_samples=40, subsample=0.8, subsample_freq=1,
            reg_lambda=1.0, random_state=seed, n_jobs=1, deterministic=True, verbosity=-1,
        )  # fmt: skip
        model.fit(covariates[fold != number], target[fold != number])
        expected[fold == number] = np.asarray(model.predict(covariates[fold == number]), dtype=np.float64)
    return expected
