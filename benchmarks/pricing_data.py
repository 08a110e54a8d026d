"""Weekly sales of orange juice in 83 stores: 11 products, their prices, advertisements and profit."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.pricing.domain.demand.observations import DemandUnit, Observations

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

JUICES = 11
# Prices are for an ounce, and so are sales; the most common package has 64.
OUNCES = 64
_WEEKS_A_YEAR = 52


@dataclass(frozen=True)
class Sales:
    """One row for each store, juice and week. `price` in dollars for 64 ounces, `margin` a share of the price; `prices`
    [rows, 11] are those of all juices in this store and week.
    """

    store: Ints
    juice: Ints
    week: Ints
    log_ounces: Floats
    price: Floats
    prices: Floats
    deal: Floats
    feature: Floats
    margin: Floats

    @property
    def log_pieces(self) -> Floats:
        """Log of packages of 64 ounces."""
        return np.asarray(self.log_ounces - np.log(OUNCES), dtype=np.float64)

    def rows(self, chosen: NDArray[np.bool_]) -> Sales:
        return Sales(**{name: values[chosen] for name, values in vars(self).items()})


def read_sales(folder: Path) -> Sales:
    """From `orange_juice.csv.gz` in the folder."""
    with gzip.open(folder / "orange_juice.csv.gz", "rt") as file:
        reader = csv.reader(file)
        names = next(reader)
        table = np.array([[float(value) for value in row] for row in reader])
    column = {name: table[:, names.index(name)] for name in names}
    prices = np.stack([column[f"price{juice}"] for juice in range(1, JUICES + 1)], axis=1) * OUNCES
    juice = column["brand"].astype(np.int64) - 1
    return Sales(
        column["store"].astype(np.int64), juice, column["week"].astype(np.int64), column["logmove"],
        prices[np.arange(len(juice)), juice], prices, column["deal"], np.clip(column["feat"], 0, 1),
        column["profit"] / 100,
    )  # fmt: skip


@dataclass(frozen=True)
class Shelf:
    """A product is a juice in a store; its category is the juice, its brand the store. `reference` [juices]: the usual
    price of each juice, so that a store without sales has one, too.
    """

    units: list[DemandUnit]
    reference: Floats
    first_week: int
    _index: dict[tuple[int, int], int]

    @classmethod
    def of(cls, sales: Sales, known: Sales) -> Shelf:
        """`known`: the sales that the usual prices are taken from."""
        reference = np.array([np.quantile(known.price[known.juice == juice], 0.9) for juice in range(JUICES)])
        pairs = sorted({(int(juice), int(store)) for juice, store in zip(sales.juice, sales.store, strict=True)})
        units = [
            DemandUnit(f"juice {juice}", f"store {store}", f"juice {juice}", f"store {store}", float(reference[juice]))
            for juice, store in pairs
        ]
        return cls(units, reference, int(sales.week.min()), {pair: index for index, pair in enumerate(pairs)})

    def observations(self, sales: Sales) -> Observations:
        relative = np.log(sales.prices / self.reference)
        own = relative[np.arange(len(sales.juice)), sales.juice]
        others = (relative.sum(axis=1) - own) / (JUICES - 1)
        weeks = sales.week - self.first_week
        return Observations.of(
            [self._index[int(juice), int(store)] for juice, store in zip(sales.juice, sales.store, strict=True)],
            sales.week, sales.price, np.exp(sales.log_ounces) / OUNCES, promotion=sales.feature,
            season=(weeks % _WEEKS_A_YEAR) / _WEEKS_A_YEAR, age_years=weeks / _WEEKS_A_YEAR, substitutes=np.exp(others),
        )  # fmt: skip
