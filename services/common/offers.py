"""An offer: the price and stock of a product for a price list and a place; and its validation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import IntEnum

from services.common.errors import FieldViolation
from services.common.limits import MAX_LIST_ID, id_problem
from services.common.money import Money, in_minor_units, minor_unit

MAX_AMOUNT = Decimal(10**12)
# How far the time of an offer may be ahead: the clocks of a shop's systems differ.
MAX_AHEAD_S = 86_400
_NS = 10**9


class OfferSource(IntEnum):
    """Whose offer it is."""

    SHOP = 1
    PRICING = 2
    # Observed by the shop; `place_id` is the competitor.
    COMPETITOR = 3


class Fulfilment(IntEnum):
    """How goods get to the shopper."""

    PICKUP = 1
    DELIVERY = 2


@dataclass(frozen=True, slots=True)
class Offer:
    """Of one product, which is named elsewhere. Meanings and bounds: offer.proto. An empty `fulfilments` is every way.

    `updated_at_ns`: nanoseconds since 1970. The sale times are UTC.
    """

    updated_at_ns: int
    price_list_id: str = ""
    place_id: str = ""
    source: OfferSource = OfferSource.SHOP
    price: Money | None = None
    sale_price: Money | None = None
    sale_starts_at: datetime | None = None
    sale_ends_at: datetime | None = None
    stock: int | None = None
    fulfilments: frozenset[Fulfilment] = frozenset()
    is_removed: bool = False
    base_price: Money | None = None
    lowest_30_days: Money | None = None
    # A number of offer.proto's PriceGuardrail.
    guardrail: int = 0

    @property
    def currency(self) -> str:
        """Of all its amounts; empty if it has none."""
        money = self.price or self.sale_price
        return "" if money is None else money.currency


def offer_violations(offer: Offer, now_s: float) -> list[FieldViolation]:
    """All violations by field path, empty for a valid offer. `now_s`: seconds since 1970."""
    return [FieldViolation(path, description) for path, description in _check(offer, now_s)]


def _check(offer: Offer, now_s: float) -> Iterator[tuple[str, str]]:
    for path, value in (("price_list_id", offer.price_list_id), ("place_id", offer.place_id)):
        if problem := id_problem(value, required=False, limit=MAX_LIST_ID):
            yield path, problem
    if offer.updated_at_ns < 0:
        yield "updated_at", "is before 1970; send the time at which the shop changed the offer"
    elif offer.updated_at_ns > (now_s + MAX_AHEAD_S) * _NS:
        yield "updated_at", "is more than a day ahead; check the clock of the sender"
    if offer.is_removed:
        return
    yield from _amounts(offer)
    if offer.sale_starts_at and offer.sale_ends_at and offer.sale_starts_at >= offer.sale_ends_at:
        yield "sale_ends_at", "is not after sale_starts_at; swap them, or leave one out"
    if offer.source is OfferSource.PRICING:
        yield from _of_pricing(offer)
        return
    if offer.source is OfferSource.COMPETITOR:
        yield from _of_competitor(offer)
    for path, is_set in (
        ("base_price", offer.base_price is not None),
        ("lowest_price_30_days", offer.lowest_30_days is not None),
        ("guardrail", offer.guardrail != 0),
    ):
        if is_set:
            yield path, "is set for an offer that pricing has not made; leave it out, or set source to PRICING"


def _amounts(offer: Offer) -> Iterator[tuple[str, str]]:
    for path, money in (
        ("price", offer.price),
        ("sale_price", offer.sale_price),
        ("base_price", offer.base_price),
        ("lowest_price_30_days", offer.lowest_30_days),
    ):
        if money is None:
            continue
        if not 0 <= money.amount <= MAX_AMOUNT:
            yield path, f"{money.amount} is outside 0 to 10^12"
        elif path != "base_price" and in_minor_units(money.amount, money.currency) != money.amount:
            yield (
                path,
                f"{money.amount} is not a whole multiple of {minor_unit(money.currency)} {money.currency}; round it",
            )
        if money.currency != offer.currency and path != "base_price":
            yield f"{path}.currency_code", f"is {money.currency}, but price is in {offer.currency}; use one currency"
    price, sale = offer.price, offer.sale_price
    if price and sale and price.currency == sale.currency and sale.amount > price.amount:
        yield "sale_price", f"{sale.amount} is above price {price.amount}; swap them"


def _of_pricing(offer: Offer) -> Iterator[tuple[str, str]]:
    for path in ("price", "base_price"):
        if getattr(offer, path) is None:
            yield path, "is missing; an offer of the source PRICING needs it"
    if offer.price and offer.base_price and offer.base_price.currency != offer.price.currency:
        yield (
            "base_price.currency_code",
            f"is {offer.base_price.currency}, but price is in {offer.price.currency}; use one currency",
        )
    for path in ("sale_price", "stock"):
        if getattr(offer, path) is not None:
            yield path, "belongs to offers of the shop; leave it out for the source PRICING"
    if offer.fulfilments:
        yield "fulfilments", "belongs to offers of the shop; leave it out for the source PRICING"


def _of_competitor(offer: Offer) -> Iterator[tuple[str, str]]:
    if not offer.place_id:
        yield "place_id", "is missing; name the competitor"
    if offer.price is None:
        yield "price", "is missing; send the price that was observed, or set is_removed"
    for path, is_set in (
        ("price_list_id", offer.price_list_id != ""),
        ("sale_price", offer.sale_price is not None),
        ("fulfilments", bool(offer.fulfilments)),
    ):
        if is_set:
            yield path, "belongs to offers of the shop; leave it out for the source COMPETITOR"
