"""The elasticity is found although the price has reacted to the demand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from services.common.errors import InvalidArgument
from services.pricing.domain.demand.model import DemandModel, DemandOptions
from services.pricing.domain.demand.observations import DemandUnit
from services.pricing.domain.demand.table import posterior_table
from training.pricing.double_ml import price_effect

TRUTH = -2.0
Floats = NDArray[np.float64]


def log(rows: int = 4_000, chance: float = 0.1) -> tuple[Floats, Floats, Floats]:
    """Log pieces, log prices, covariates. The price rises with demand, which is not linear in the covariates."""
    random = np.random.default_rng(3)
    covariates = random.normal(0, 1, (rows, 3))
    expected = np.maximum(covariates[:, 0], 0) + 0.5 * np.abs(covariates[:, 1])
    price = 0.2 * expected + random.normal(0, chance, rows) if chance else covariates[:, 0] * 0.0
    return 2 + TRUTH * price + expected + random.normal(0, 0.3, rows), price, covariates


def test_confounding_is_removed() -> None:
    """Within 10 % of the truth, where a plain regression is off by more than 30 %."""
    units, price, covariates = log()
    effect = price_effect(units, price, covariates)
    plain = np.polyfit(price, units, 1)[0]
    assert abs(plain / TRUTH - 1) > 0.3
    assert abs(effect.estimate / TRUTH - 1) < 0.1
    assert abs(effect.estimate - TRUTH) < 4 * effect.standard_error
    assert 0 < effect.price_left < 0.7


def test_the_estimate_is_the_start_of_a_demand_model() -> None:
    """Products that were never sold are expected to have the estimated elasticity."""
    effect = price_effect(*log())
    options = DemandOptions(elasticity=(effect.estimate, effect.standard_error))
    table = posterior_table(DemandModel([DemandUnit("a", "", "c", "b", 5.0)], options))
    assert table["elasticity"][0] == pytest.approx(effect.estimate)


def test_equal_rows_give_an_equal_estimate() -> None:
    """The folds are seeded."""
    assert price_effect(*log(600), seed=1) == price_effect(*log(600), seed=1)


def test_a_price_without_chance_teaches_nothing() -> None:
    """A price that the covariates determine is refused; the remedy is to vary prices."""
    units, price, covariates = log(600, chance=0.0)
    with pytest.raises(InvalidArgument, match=r"^log_price: is a function .*vary prices"):
        price_effect(units, price, covariates)


def test_wrong_columns_are_refused_by_name() -> None:
    """Too few rows, values that are not finite, and other lengths."""
    units, price, covariates = log(600)
    with pytest.raises(InvalidArgument, match=r"^log_units: has 99 rows"):
        price_effect(units[:99], price[:99], covariates[:99])
    with pytest.raises(InvalidArgument, match=r"^covariates: has values that are not finite"):
        price_effect(units, price, np.where(covariates > 2, np.nan, covariates))
    with pytest.raises(InvalidArgument, match=r"^log_price: has the shape"):
        price_effect(units, price[:-1], covariates)


@pytest.mark.parametrize("elasticity", [(float("nan"), 1.0), (-2.0, 0.0), (-2.0, float("inf"))])
def test_an_elasticity_to_start_with_is_a_number(elasticity: tuple[float, float]) -> None:
    """With a positive standard deviation."""
    with pytest.raises(InvalidArgument, match=r"^elasticity: is"):
        DemandModel([], DemandOptions(elasticity=elasticity))
