"""What the demand model learns from: sales of a product at a price in a period, as columns."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from services.common.errors import InvalidArgument

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Rows of one table: about 0.5 GB while it is learned from.
MAX_ROWS = 1_000_000
# A period in which a product was sold out longer than this says too little about its demand.
MIN_IN_STOCK = 0.1


@dataclass(frozen=True)
class DemandUnit:
    """A product in a price list. `reference_price`: any fixed price of it, for example its first list price; `base` of
    its demand is the demand at this price.
    """

    product_id: str
    price_list_id: str
    category: str
    brand: str
    reference_price: float

    def __post_init__(self) -> None:
        if not np.isfinite(self.reference_price) or self.reference_price <= 0:
            raise InvalidArgument.of(
                f"units[{self.product_id!r}].reference_price", f"{self.reference_price} is not a positive number"
            )

    @property
    def key(self) -> tuple[str, str]:
        return self.product_id, self.price_list_id


@dataclass(frozen=True)
class Observations:
    """One row for each unit and period. All columns have the shape [rows].

    unit         index of the unit in the model
    period       number of the period: rows of one category and period share a demand shock
    price        average price paid
    units        pieces sold, 0 or more
    exposure     what sales are proportional to: 1, or the views of the product. Views react to the price, too: with
                 them the elasticity is that of the conversion
    in_stock     share of the period in which the product could be bought. Below 0.1 the row is left out
    promotion    share of the period with an advertisement or a deal
    season       time of the year, from 0 to 1
    age_years    time since the product was first sold
    substitutes  prices of the substitutes relative to their reference prices, geometric mean
    competitor   the lowest price of a competitor relative to its usual one; 0: none was observed
    """

    unit: Ints
    period: Ints
    price: Floats
    units: Floats
    exposure: Floats
    in_stock: Floats
    promotion: Floats
    season: Floats
    age_years: Floats
    substitutes: Floats
    competitor: Floats

    @classmethod
    def of(
        cls, unit: ArrayLike, period: ArrayLike, price: ArrayLike, units: ArrayLike, *,
        exposure: ArrayLike = 1.0, in_stock: ArrayLike = 1.0, promotion: ArrayLike = 0.0, season: ArrayLike = 0.0,
        age_years: ArrayLike = 0.0, substitutes: ArrayLike = 1.0, competitor: ArrayLike = 0.0,
    ) -> Observations:  # fmt: skip
        """Repeats single values to the length of `unit`. Raises InvalidArgument with the column, row and remedy."""
        index = np.atleast_1d(np.asarray(unit, dtype=np.int64))
        if index.size > MAX_ROWS:
            raise InvalidArgument.of("unit", f"has {index.size:,} rows; send at most {MAX_ROWS:,} at a time")
        given = {
            "price": price, "units": units, "exposure": exposure, "in_stock": in_stock, "promotion": promotion,
            "season": season, "age_years": age_years, "substitutes": substitutes, "competitor": competitor,
        }  # fmt: skip
        columns = {name: _column(name, values, index.size) for name, values in given.items()}
        periods = _column("period", period, index.size)
        return cls(unit=index, period=periods.astype(np.int64), **columns)

    def __post_init__(self) -> None:
        for name, is_valid, remedy in (
            ("unit", self.unit >= 0, "is no index of a unit"),
            ("price", self.price > 0, "must be a positive number"),
            ("units", self.units >= 0, "must be 0 or more"),
            ("exposure", self.exposure > 0, "must be a positive number; leave periods without views out"),
            ("in_stock", (self.in_stock >= 0) & (self.in_stock <= 1), "must be from 0 to 1"),
            ("promotion", (self.promotion >= 0) & (self.promotion <= 1), "must be from 0 to 1"),
            ("season", (self.season >= 0) & (self.season <= 1), "must be from 0 to 1"),
            ("age_years", self.age_years >= 0, "must be 0 or more"),
            ("substitutes", self.substitutes > 0, "must be a positive number"),
            ("competitor", self.competitor >= 0, "must be a positive number, or 0 if no price was observed"),
        ):
            values = getattr(self, name)
            wrong = np.flatnonzero(~(is_valid & np.isfinite(values)))
            if wrong.size:
                raise InvalidArgument.of(f"{name}[{wrong[0]}]", f"is {values[wrong[0]]}; it {remedy}")

    def rows(self, chosen: NDArray[np.bool_] | Ints) -> Observations:
        """The chosen rows."""
        return Observations(**{column.name: getattr(self, column.name)[chosen] for column in fields(self)})


def _column(name: str, values: ArrayLike, rows: int) -> Floats:
    column = np.asarray(values, dtype=np.float64)
    if column.shape not in ((), (1,), (rows,)):
        raise InvalidArgument.of(name, f"has the shape {column.shape}; send one value for each of the {rows} rows")
    if not np.isfinite(column).all():
        wrong = int(np.flatnonzero(~np.isfinite(np.atleast_1d(column)))[0])
        raise InvalidArgument.of(f"{name}[{wrong}]", "is not a finite number; leave the row out")
    return np.broadcast_to(column, (rows,)).copy()
