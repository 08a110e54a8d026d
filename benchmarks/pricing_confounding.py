"""Logs in which the price has reacted to the demand, with a known elasticity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.pricing_data import Floats
from training.pricing.double_ml import price_effect

TRUE_ELASTICITY = -2.5
_ROWS = 20_000
_COVARIATES = 8


@dataclass(frozen=True)
class Log:
    log_units: Floats
    log_price: Floats
    covariates: Floats


def confounded_log(seed: int, rows: int = _ROWS) -> Log:
    """Holidays, weather and the prices of competitors move demand, not linearly, and the shop's price follows the
    demand that it expects. Part of the price is chance, as after exploration.
    """
    random = np.random.default_rng(seed)
    covariates = random.normal(0, 1, (rows, _COVARIATES))
    first, second, third, fourth = covariates[:, :4].T
    expected = 0.5 * np.maximum(first, 0) + 0.4 * np.sin(2 * second) + 0.3 * first * (third > 0) + 0.2 * np.abs(fourth)
    log_price = 0.25 * expected + random.normal(0, 0.1, rows)
    log_units = 3 + TRUE_ELASTICITY * log_price + expected + random.normal(0, 0.3, rows)
    return Log(log_units, log_price, covariates)


def plain_regression(log: Log, has_covariates: bool) -> float:
    """The coefficient of the log price, without covariates or with them as linear terms."""
    columns = [np.ones(log.log_price.size), log.log_price]
    if has_covariates:
        columns.extend(log.covariates.T)
    found = np.linalg.lstsq(np.stack(columns, axis=1), log.log_units, rcond=None)[0]
    return float(found[1])


def measure_confounding(seed: int) -> dict[str, float]:
    """Relative errors of the elasticity."""
    log = confounded_log(seed)
    effect = price_effect(log.log_units, log.log_price, log.covariates, seed)

    def error(estimate: float) -> float:
        return abs(estimate / TRUE_ELASTICITY - 1)

    return {
        "plain": error(plain_regression(log, False)), "linear": error(plain_regression(log, True)),
        "double_ml": error(effect.estimate), "estimate": effect.estimate, "standard_error": effect.standard_error,
    }  # fmt: skip
