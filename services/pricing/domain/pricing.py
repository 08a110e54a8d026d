"""Items, offers, and pricers that propose a price. A price never depends on the person who asks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Protocol

from services.common.money import Money
from services.pricing.domain.evidence import Evidence

_DAY_S = 86_400.0
LIST_PRICE_APPLIES = "The list price applies."


class PriceReason(Enum):
    """Why an offer is what it is. EXPLORATION: another price is expected to be better, this one is tried to learn."""

    LIST_PRICE = "list_price"
    OVERSTOCK = "overstock"
    AGED = "aged"
    GUARDRAIL = "guardrail"
    # Of policies that learn demand.
    DEMAND = "demand"
    EXPLORATION = "exploration"
    CLEARANCE = "clearance"
    PUBLISHED = "published"


@dataclass(frozen=True)
class PricedItem:
    """`created_s`: when the shop began to sell the item, in seconds since the epoch; 0: unknown. `stock` None: not
    tracked. `published`: the effective offer of the price list and the place; None: the caller knows none. `guardrail`:
    what held it, a number of guardrails.Guardrail; 0 for the shop's own price. `competitor`: the lowest price that was
    observed at competitors and is not out of date.
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
    minimum_advertised_price: Money | None = None
    category_path: tuple[str, ...] = ()
    guardrail: int = 0
    lowest_30_days: Money | None = None
    competitor: Money | None = None


@dataclass(frozen=True)
class ProposedPrice:
    """The price that a pricer proposes, before the guardrails. `evidence`: None if it uses no demand model, or the
    model does not know the product.
    """

    amount: Decimal
    reason: PriceReason
    explanation: str
    evidence: Evidence | None = None


@dataclass(frozen=True)
class Offer:
    """floor <= amount <= ceiling, all rounded to the minor unit of the currency. `guardrail`: what held the amount, a
    number of guardrails.Guardrail; 0 for the shop's own price.
    """

    floor: Money
    ceiling: Money
    amount: Money
    reason: PriceReason
    explanation: str
    guardrail: int = 0


# The offer that the guardrails make of a proposed price. Its floor and ceiling are what they allow now.
Guard = Callable[[PricedItem, ProposedPrice], Offer]


class Pricer(Protocol):
    """Proposes a price from an item and the time, in seconds since the epoch.

    `guard`: for a pricer that looks for the best price of those that the guardrails allow. What it proposes is bounded
    by them again.
    """

    def __call__(self, item: PricedItem, now_s: float, guard: Guard) -> ProposedPrice: ...

    def next_change_s(self, item: PricedItem, now_s: float) -> float:
        """The next time at which the proposal may change though the item does not; infinite if there is none."""


@dataclass(frozen=True)
class ListPrice:
    """The baseline pricer: it proposes the list price."""

    def __call__(self, item: PricedItem, now_s: float, guard: Guard | None = None) -> ProposedPrice:
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

    def __call__(self, item: PricedItem, now_s: float, guard: Guard | None = None) -> ProposedPrice:
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
    return ProposedPrice(item.list_price.amount, PriceReason.LIST_PRICE, LIST_PRICE_APPLIES)
