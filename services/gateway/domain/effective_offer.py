"""The effective offer of a product: what it costs now, for the price list and the place of a request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from services.common.money import MINOR_UNIT_DECIMALS, Money, in_minor_units


@dataclass(frozen=True)
class EffectiveOffer:
    """`list_price`: without sale and markdown, in the same currency, not below `price`. `stock` None: not tracked.

    `lowest`: of the 30 days before `price`; None: not known. `guardrail`: what held a computed price, a number of
    offer.proto; 0 for a price of the shop.
    """

    price: Money
    list_price: Money
    stock: int | None = None
    lowest: Money | None = None
    guardrail: int = 0


def effective_offer(
    price: float, list_price: float, currency: str, stock: int, lowest: float = math.nan, guardrail: int = 0
) -> EffectiveOffer | None:
    """From the columns of retrieval, exactly: an amount is the nearest whole number of minor units.

    None without a price. A list price that is unknown, or below the price, counts as the price. `stock`: -1 for one
    that is not tracked. `lowest`: NaN if it is not known.
    """
    if currency not in MINOR_UNIT_DECIMALS or not math.isfinite(price):
        return None
    paid = _money(currency, price)
    listed = _money(currency, list_price) if list_price > price else paid
    before = _money(currency, lowest) if math.isfinite(lowest) else None
    return EffectiveOffer(paid, listed, stock if stock >= 0 else None, before, guardrail)


def _money(currency: str, amount: float) -> Money:
    return Money(currency, in_minor_units(Decimal(amount), currency))
