"""The prices of some rows, in one currency."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from services.retrieval.domain.catalogue.effective import CURRENCIES, CURRENCY_NUMBERS, EffectiveOffers
from services.retrieval.domain.catalogue.growing import RowArray


def usual_currency(offers: EffectiveOffers, rows: RowArray) -> str:
    """That of most of the rows; empty if none has a price."""
    priced = rows.take(np.flatnonzero(~np.isnan(offers.prices.take(rows))))
    return CURRENCIES[int(np.bincount(offers.currencies.take(priced)).argmax())] if len(priced) else ""


def with_price(offers: EffectiveOffers, rows: RowArray, currency: str) -> tuple[RowArray, npt.NDArray[np.float64]]:
    """(those of the rows with a price in the currency, the price of each)."""
    prices = offers.prices.take(rows)
    is_known = ~np.isnan(prices) & (offers.currencies.take(rows) == CURRENCY_NUMBERS[currency])
    known = np.flatnonzero(is_known)
    return rows.take(known), prices.take(known)
