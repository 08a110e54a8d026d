"""Offers: a price per product, inside guardrails, never per person."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from enum import Enum

from services.common.money import Money

# ISO 4217: currencies whose minor unit is not a hundredth.
_DECIMALS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "KWD": 3, "BHD": 3, "OMR": 3, "TND": 3, "JOD": 3}
_DAY_S = 86_400.0


class PriceReason(Enum):
    LIST_PRICE = "list_price"
    OVERSTOCK = "overstock"
    AGED = "aged"
    GUARDRAIL = "guardrail"


@dataclass(frozen=True)
class PricedItem:
    """`created_s` in seconds since the epoch, 0 where unknown; `stock` None where it is not tracked."""

    item_id: str
    list_price: Money
    cost: Money | None = None
    price_floor: Money | None = None
    price_ceiling: Money | None = None
    stock: int | None = None
    created_s: float = 0.0


@dataclass(frozen=True)
class Guardrails:
    """Shares of cost or list price."""

    minimum_margin: Decimal
    maximum_discount: Decimal
    maximum_increase: Decimal


@dataclass(frozen=True)
class Wish:
    """What a pricer would like, before the guardrails."""

    amount: Decimal
    reason: PriceReason
    explanation: str


@dataclass(frozen=True)
class Offer:
    """floor <= amount <= ceiling, all in the currency's minor unit."""

    floor: Money
    ceiling: Money
    amount: Money
    reason: PriceReason
    explanation: str


Pricer = Callable[[PricedItem, float], Wish]


def offer(item: PricedItem, wish: Wish, rails: Guardrails) -> Offer:
    """The wish, held inside the item's bounds. Where floor and ceiling contradict each other, the floor wins."""
    currency, price = item.list_price.currency, item.list_price.amount
    floors = [price * (1 - rails.maximum_discount)]
    if item.cost is not None:
        floors.append(item.cost.amount * (1 + rails.minimum_margin))
    if item.price_floor is not None:
        floors.append(item.price_floor.amount)
    ceilings = [price * (1 + rails.maximum_increase)]
    if item.price_ceiling is not None:
        ceilings.append(item.price_ceiling.amount)
    floor = in_minor_units(max(floors), currency, ROUND_CEILING)
    ceiling = max(floor, in_minor_units(min(ceilings), currency, ROUND_FLOOR))
    wished = in_minor_units(wish.amount, currency, ROUND_HALF_UP)
    held = min(max(wished, floor), ceiling)
    reason, explanation = wish.reason, wish.explanation
    if held != wished:
        which = "floor" if held == floor else "ceiling"
        reason = PriceReason.GUARDRAIL
        explanation = f"{wish.explanation} Held at the {which} of {Money(currency, held)}."
    return Offer(Money(currency, floor), Money(currency, ceiling), Money(currency, held), reason, explanation)


def in_minor_units(amount: Decimal, currency: str, rounding: str) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-_DECIMALS.get(currency, 2)), rounding=rounding)


def list_price(item: PricedItem, now_s: float) -> Wish:
    """The baseline: what the shop wrote."""
    return Wish(item.list_price.amount, PriceReason.LIST_PRICE, "The list price stands.")


@dataclass(frozen=True)
class MarkdownRules:
    """A rule-based pricer: the larger of two markdowns, each a share of the list price."""

    overstock_from: int
    overstock_markdown: Decimal
    aged_from_days: int
    aged_markdown: Decimal

    def __call__(self, item: PricedItem, now_s: float) -> Wish:
        price, wishes = item.list_price.amount, [list_price(item, now_s)]
        if item.stock is not None and item.stock >= self.overstock_from:
            share = self.overstock_markdown
            text = f"{item.stock} are in stock, {self.overstock_from} or more is overstock: {share:.0%} off."
            wishes.append(Wish(price * (1 - share), PriceReason.OVERSTOCK, text))
        age_days = int((now_s - item.created_s) / _DAY_S) if item.created_s else 0
        if item.stock != 0 and age_days >= self.aged_from_days:
            share = self.aged_markdown
            text = f"Sold for {age_days} days, {self.aged_from_days} or more is aged: {share:.0%} off."
            wishes.append(Wish(price * (1 - share), PriceReason.AGED, text))
        return min(wishes, key=lambda wish: wish.amount)
