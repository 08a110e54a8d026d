"""Offers: a price for each product, within guardrails. A price never depends on the person who asks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from enum import Enum
from typing import Protocol

from services.common.money import Money, in_minor_units, minor_unit

_DAY_S = 86_400.0
_LIST_PRICE_APPLIES = "The list price applies."


class PriceReason(Enum):
    """Why an offer is what it is."""

    LIST_PRICE = "list_price"
    OVERSTOCK = "overstock"
    AGED = "aged"
    GUARDRAIL = "guardrail"
    PUBLISHED = "published"


@dataclass(frozen=True)
class PricedItem:
    """`created_s`: when the shop began to sell the item, in seconds since the epoch; 0: unknown. `stock` None: not
    tracked. `published`: the effective offer of the price list and the place; None: the caller knows none.
    """

    item_id: str
    list_price: Money
    cost: Money | None = None
    price_floor: Money | None = None
    price_ceiling: Money | None = None
    stock: int | None = None
    created_s: float = 0.0
    published: Money | None = None
    price_list_id: str = ""
    place_id: str = ""


@dataclass(frozen=True)
class Guardrails:
    """Bounds of every offer: `minimum_margin` as a share of the cost, the others as shares of the list price."""

    minimum_margin: Decimal
    maximum_discount: Decimal
    maximum_increase: Decimal


@dataclass(frozen=True)
class ProposedPrice:
    """The price that a pricer proposes, before the guardrails."""

    amount: Decimal
    reason: PriceReason
    explanation: str


@dataclass(frozen=True)
class Offer:
    """floor <= amount <= ceiling, all rounded to the minor unit of the currency."""

    floor: Money
    ceiling: Money
    amount: Money
    reason: PriceReason
    explanation: str


class Pricer(Protocol):
    """Proposes a price from an item and the time, in seconds since the epoch."""

    def __call__(self, item: PricedItem, now_s: float) -> ProposedPrice: ...

    def next_change_s(self, item: PricedItem, now_s: float) -> float:
        """The next time at which the proposal may change though the item does not; infinite if there is none."""


def offer(item: PricedItem, proposed: ProposedPrice, rails: Guardrails) -> Offer:
    """The proposed price, moved to the floor or ceiling if it is beyond. A floor above the ceiling applies.

    No floor is above the list price: no guardrail raises an offer above it. A list price below cost is the shop's
    decision. An offer is at least one minor unit, unless the list price is 0.
    """
    currency, price = item.list_price.currency, item.list_price.amount
    floors = [price * (1 - rails.maximum_discount)]
    if item.cost is not None:
        floors.append(item.cost.amount * (1 + rails.minimum_margin))
    if item.price_floor is not None:
        floors.append(item.price_floor.amount)
    ceilings = [price * (1 + rails.maximum_increase)]
    if item.price_ceiling is not None:
        ceilings.append(item.price_ceiling.amount)
    least = minor_unit(currency) if price else Decimal(0)
    most = max(in_minor_units(price, currency, ROUND_FLOOR), least)
    floor = min(max(in_minor_units(max(floors), currency, ROUND_CEILING), least), most)
    ceiling = max(floor, in_minor_units(min(ceilings), currency, ROUND_FLOOR))
    rounded = in_minor_units(proposed.amount, currency, ROUND_HALF_UP)
    amount = min(max(rounded, floor), ceiling)
    reason, explanation = proposed.reason, proposed.explanation
    if amount != rounded:
        change = "raised the offer to the floor" if amount > rounded else "lowered the offer to the ceiling"
        reason = PriceReason.GUARDRAIL
        explanation = f"{explanation} A guardrail {change} of {Money(currency, amount)}."
    return Offer(Money(currency, floor), Money(currency, ceiling), Money(currency, amount), reason, explanation)


def quoted(item: PricedItem, proposed: ProposedPrice, rails: Guardrails) -> Offer:
    """What a quote offers: the published offer if there is one, otherwise the computed one.

    A published offer applies also beyond floor and ceiling, which are widened to it: it is the shop's decision. Its
    reason is the pricer's if the pricer computes the same amount.
    """
    computed = offer(item, proposed, rails)
    amount = item.published
    if amount is None or amount.amount == computed.amount.amount:
        return computed
    floor, ceiling = (min(computed.floor.amount, amount.amount), max(computed.ceiling.amount, amount.amount))
    reason, explanation = PriceReason.PUBLISHED, "The shop's published offer applies."
    if amount.amount == item.list_price.amount:
        reason, explanation = PriceReason.LIST_PRICE, _LIST_PRICE_APPLIES
    return Offer(Money(amount.currency, floor), Money(amount.currency, ceiling), amount, reason, explanation)


class ListPrice:
    """The baseline pricer: it proposes the list price."""

    def __call__(self, item: PricedItem, now_s: float) -> ProposedPrice:
        return _list_price(item)

    def next_change_s(self, item: PricedItem, now_s: float) -> float:
        return math.inf


@dataclass(frozen=True)
class MarkdownRules:
    """A pricer by rules: the larger of two markdowns, each a share of the list price. A sold-out item is not aged."""

    overstock_from: int
    overstock_markdown: Decimal
    aged_from_days: int
    aged_markdown: Decimal

    def __call__(self, item: PricedItem, now_s: float) -> ProposedPrice:
        price, proposals = item.list_price.amount, [_list_price(item)]
        if item.stock is not None and item.stock >= self.overstock_from:
            share = self.overstock_markdown
            text = (
                f"{share:.0%} off: {item.stock} pieces are in stock; {self.overstock_from} or more count as overstock."
            )
            proposals.append(ProposedPrice(price * (1 - share), PriceReason.OVERSTOCK, text))
        age_days = int((now_s - item.created_s) / _DAY_S) if item.created_s else 0
        if item.stock != 0 and age_days >= self.aged_from_days:
            share = self.aged_markdown
            text = f"{share:.0%} off: sold for {age_days} days; after {self.aged_from_days} days the price is reduced."
            proposals.append(ProposedPrice(price * (1 - share), PriceReason.AGED, text))
        return min(proposals, key=lambda proposed: proposed.amount)

    def next_change_s(self, item: PricedItem, now_s: float) -> float:
        """When the item becomes aged."""
        aged_s = item.created_s + self.aged_from_days * _DAY_S
        return aged_s if item.created_s and aged_s > now_s else math.inf


def _list_price(item: PricedItem) -> ProposedPrice:
    return ProposedPrice(item.list_price.amount, PriceReason.LIST_PRICE, _LIST_PRICE_APPLIES)
