"""The price and stock of each row of a catalogue that apply to a request."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class EffectiveOffers:
    """Element i of each array belongs to row i. The arrays are never written again.

    `prices` and `list_prices` [n]: in units of the currency, NaN if unknown; `list_prices` is the price without sale
    and markdown. `currencies` [n]: places in `currency_codes`; of no meaning where the price is unknown. `stocks` [n]:
    pieces, -1 if stock is not tracked. `in_stock` [n].
    """

    prices: npt.NDArray[np.float64]
    list_prices: npt.NDArray[np.float64]
    currencies: npt.NDArray[np.uint16]
    currency_codes: tuple[str, ...]
    stocks: npt.NDArray[np.int64]
    in_stock: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.prices)
