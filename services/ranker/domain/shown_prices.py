"""The prices of a page that was shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ShownPrices:
    """Of the n items of a page, for one price list and place; empty: the default list, any place.

    `offers` and `list_prices` [n] are in minor units of `currencies`; an item with an empty currency had no price.
    `reasons` are names of pricing's reasons in lower case. An empty quote id: there is no quote. `in_stock` [n] is true
    as well where the stock is not tracked.
    """

    price_list_id: str
    place_id: str
    currencies: Sequence[str]
    offers: IntArray
    list_prices: IntArray
    reasons: Sequence[str]
    quote_ids: Sequence[str]
    in_stock: BoolArray
