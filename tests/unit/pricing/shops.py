"""A product that the publisher's work is applied to, day after day."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from services.common.money import Money
from services.pricing.domain.guardrails import Guardrail, Guardrails
from services.pricing.domain.offered_product import OfferedProduct, ShopOffer
from services.pricing.domain.policy_set import Policy
from services.pricing.domain.pricing import Guard, PricedItem, PriceReason, ProposedPrice
from services.pricing.domain.publication import KnownProduct, Look, look_at

DAY_S = 86_400
# The beginning of a day.
START_S = 20_000 * DAY_S
LOOSE = Guardrails(Decimal(0), Decimal("0.9"), Decimal(0))


def usd(amount: str | int) -> Money:
    return Money("USD", Decimal(amount))


class Proposing:
    """Proposes the share `share` of the shop's price, whatever it is at that time."""

    def __init__(self, share: str = "1") -> None:
        self.share = Decimal(share)

    def __call__(self, item: PricedItem, now_s: float, guard: Guard | None = None) -> ProposedPrice:
        return ProposedPrice(item.list_price.amount * self.share, PriceReason.AGED, "Proposed.")

    def next_change_s(self, item: PricedItem, now_s: float) -> float:
        return float("inf")


class OneProduct:
    """At 100, with one price list. `look` is what the publisher does with it; `price` is what shoppers pay then."""

    def __init__(self, rails: Guardrails = LOOSE, period_s: int = DAY_S, **policy: Any) -> None:
        self.pricer = Proposing()
        self.policy = Policy("p", "test", self.pricer, rails, period_s, **policy)
        self.product = OfferedProduct("a", usd(100))
        self.known: KnownProduct | None = None
        self.now_s = float(START_S)
        self.last: Look | None = None
        # What persons have decided, by the id of the review.
        self.reviews: dict[str, bool] = {}

    def look(self, share: str | None = None, *, after_s: float = 0, **more: Any) -> str:
        if share is not None:
            self.pricer.share = Decimal(share)
        self.now_s += after_s
        self.last = look_at(self.product, self.known, self.policy, self.now_s, reviews=self.reviews, **more)
        self.known = self.last.known
        self.product = self.last.known.product
        return self.price

    def change(self, **fields: Any) -> None:
        self.product = dataclasses.replace(self.product, **fields)

    def sale(self, amount: str | None) -> None:
        self.change(shop={"": ShopOffer(sale_price=None if amount is None else usd(amount))})

    def rails(self, change: Callable[[Guardrails], Guardrails]) -> None:
        self.policy = dataclasses.replace(self.policy, rails=change(self.policy.rails))

    @property
    def asked(self) -> Money:
        sale = self.product.shop.get("", ShopOffer()).sale_price
        assert self.product.price is not None
        return sale or self.product.price

    @property
    def price(self) -> str:
        published = self.product.published.get("")
        if published is not None and published.base_price == self.asked:
            return f"{published.price.amount:.2f}"
        return f"{self.asked.amount:.2f}"

    @property
    def lowest(self) -> str | None:
        published = self.product.published.get("")
        if published is None or published.base_price != self.asked or published.lowest is None:
            return None
        return f"{published.lowest.amount:.2f}"

    def shown(self) -> tuple[str, str | None]:
        """What shoppers pay, and the lowest price before it."""
        return self.price, self.lowest

    @property
    def guardrail(self) -> str:
        published = self.product.published.get("")
        return Guardrail(published.guardrail).name if published and published.guardrail else ""
