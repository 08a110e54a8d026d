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
    `lowest`: the lowest price of the 30 days before a computed price; NaN if there is none. `guardrails`: what held a
    computed price, numbers of offer.proto; 0 for a price of the shop.
    """

    prices: npt.NDArray[np.float64]
    list_prices: npt.NDArray[np.float64]
    currencies: npt.NDArray[np.uint16]
    stocks: npt.NDArray[np.int64]
    in_stock: npt.NDArray[np.bool_]
    lowest: npt.NDArray[np.float64]
    guardrails: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.prices)


def own_offers(
    prices: npt.NDArray[np.float64], currencies: npt.NDArray[np.uint16], stocks: npt.NDArray[np.int64]
) -> EffectiveOffers:
    """Of products without offers."""
    lowest, guardrails = np.broadcast_to(np.nan, len(prices)), np.broadcast_to(np.uint8(0), len(prices))
    return EffectiveOffers(prices, prices, currencies, stocks, stocks != 0, lowest, guardrails)
