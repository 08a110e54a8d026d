"""The posteriors as a table, for explanations, dashboards and other programs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.pricing.domain.demand.forecast import Z90
from services.pricing.domain.demand.model import DemandModel


def posterior_table(model: DemandModel) -> dict[str, NDArray[Any]]:
    """One row for each unit: its ids; `elasticity` with the bounds of its central 90 %; `base_units`, the expected
    pieces of a period at `reference_price`; `noise`, the standard deviation of log demand from period to period; and
    `mean` [units, k] and `covariance` [units, k, k] of the coefficients in the order of `model.design.names`.
    """
    units = np.arange(len(model.units))
    mean, covariance = model.posterior(units)
    half = Z90 * np.sqrt(covariance[:, 1, 1])
    return {
        "product_id": np.array([unit.product_id for unit in model.units], dtype=np.str_),
        "price_list_id": np.array([unit.price_list_id for unit in model.units], dtype=np.str_),
        "reference_price": np.array([unit.reference_price for unit in model.units]),
        "base_units": np.exp(np.minimum(mean[:, 0] + covariance[:, 0, 0] / 2, 40.0)),
        "elasticity": mean[:, 1],
        "elasticity_low": mean[:, 1] - half,
        "elasticity_high": mean[:, 1] + half,
        "noise": np.sqrt(model.noise(units)),
        "mean": mean,
        "covariance": covariance,
    }
