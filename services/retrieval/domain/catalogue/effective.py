"""The prices and stock that apply to a request, as columns: row i belongs to row i of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.common.money import MINOR_UNIT_DECIMALS

# The currencies of the column `currencies`, by number. Number 0: the price is unknown.
CURRENCIES: tuple[str, ...] = ("", *sorted(MINOR_UNIT_DECIMALS))
CURRENCY_NUMBERS: Mapping[str, int] = {code: number for number, code in enumerate(CURRENCIES)}
NOT_TRACKED = -1


@dataclass(frozen=True)
class EffectiveOffers:
    """Read-only columns of n rows each.

    `prices`: in units of the currency; NaN if unknown. `list_prices`: without sale and markdown. `currencies`: numbers
    of CURRENCIES. `stocks`: pieces; NOT_TRACKED if nobody counts them. `in_stock`: what `in_stock_only` keeps.
    """

    prices: npt.NDArray[np.float64]
    list_prices: npt.NDArray[np.float64]
    currencies: npt.NDArray[np.uint16]
    stocks: npt.NDArray[np.int64]
    in_stock: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.prices)
