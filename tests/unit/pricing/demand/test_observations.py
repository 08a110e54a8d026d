"""What the demand model refuses to learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.common.errors import InvalidArgument
from services.pricing.domain.demand import observations
from services.pricing.domain.demand.design import Design
from services.pricing.domain.demand.model import DemandModel
from services.pricing.domain.demand.observations import DemandUnit, Observations

GOOD: dict[str, Any] = {
    "unit": [0, 1], "period": 3, "price": [2.0, 3.0], "units": [4, 0], "exposure": 1.0, "in_stock": 1.0,
    "promotion": 0.0, "season": 0.5, "age_years": 0.0, "substitutes": 1.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *((column, bad) for column in GOOD if column not in ("unit",) for bad in (np.nan, np.inf)),
        ("unit", -1), ("price", 0.0), ("price", -1.0), ("units", -1.0), ("exposure", 0.0), ("in_stock", 1.1),
        ("promotion", -0.1), ("season", 1.5), ("age_years", -1.0), ("substitutes", 0.0),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_by_column_and_row(column: str, value: float) -> None:
    """NaN, infinite, zero and negative values are refused; the error names the column and the row."""
    good = GOOD[column][0] if isinstance(GOOD[column], list) else GOOD[column]
    with pytest.raises(InvalidArgument, match=rf"^{column}\[1\]: "):
        Observations.of(**GOOD | {column: [good, value]})


def test_a_column_of_another_length_is_refused() -> None:
    """A column has one value, or one for each row."""
    with pytest.raises(InvalidArgument, match=r"^price: has the shape"):
        Observations.of(**GOOD | {"price": [1.0, 2.0, 3.0]})


def test_too_many_rows_are_refused_before_work() -> None:
    """The limit of rows is checked on the index alone."""
    with pytest.raises(InvalidArgument, match=r"^unit: has"):
        Observations.of(np.zeros(observations.MAX_ROWS + 1, np.int64), 0, 1.0, 1.0)


@pytest.mark.parametrize("price", [0.0, -2.0, np.nan, np.inf])
def test_a_reference_price_is_a_positive_number(price: float) -> None:
    """The error names the product."""
    with pytest.raises(InvalidArgument, match=r"^units\['a'\]\.reference_price"):
        DemandUnit("a", "", "juice", "brand", price)


def test_a_unit_is_known_before_its_sales() -> None:
    """Sales of a unit that the model lacks are refused, and so is a unit that it has."""
    unit = DemandUnit("a", "", "juice", "brand", 1.0)
    model = DemandModel([unit])
    with pytest.raises(InvalidArgument, match=r"^unit: 1 is beyond the 1 units"):
        model.observe(Observations.of(**GOOD))
    with pytest.raises(InvalidArgument, match=r"^units: has"):
        model.add([unit])


def test_rows_without_stock_alone_teach_nothing() -> None:
    """A fit to them leaves the demand unknown; so do updates."""
    model = DemandModel([DemandUnit("a", "", "juice", "brand", 1.0)])
    rows = Observations.of(0, 0, 1.0, 0.0, in_stock=0.0)
    model.fit(rows)
    model.observe(rows)
    assert not model.is_known(np.array([0]))[0]


@pytest.mark.parametrize("names", [("weather",), ("age", "age")])
def test_coefficients_are_known_and_named_once(names: tuple[str, ...]) -> None:
    """The error lists the coefficients, or what is named twice."""
    with pytest.raises(InvalidArgument, match=r"^coefficients: "):
        Design(names)
