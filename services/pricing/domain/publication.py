"""The prices that pricing publishes: one for each product and price list that is marked down.

A published price names the shop's price that it was computed from. It applies only while the shop asks that price.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_FLOOR

from services.common.money import Money, in_minor_units
from services.pricing.domain.guardrails import Guardrails, offer
from services.pricing.domain.pricing import PricedItem, Pricer

# The id of the default price list.
DEFAULT_LIST = ""


@dataclass(frozen=True)
class ShopOffer:
    """The shop's own offer for a price list at any place. Each part may be absent. Times in seconds since the epoch;
    None: the sale has begun, or has no end.
    """

    price: Money | None = None
    sale_price: Money | None = None
    sale_starts_s: float | None = None
    sale_ends_s: float | None = None
    stock: int | None = None


_NOTHING = ShopOffer()


@dataclass(frozen=True)
class PublishedPrice:
    """A computed price, and the shop's price that it was computed from."""

    price: Money
    base_price: Money


@dataclass(frozen=True)
class OfferedProduct:
    """What the prices of a product depend on, and what is published of it.

    `shop` and `published` by price list. `published_ns`: the time of the newest price that was published or withdrawn,
    in nanoseconds since the epoch.
    """

    product_id: str
    price: Money | None = None
    cost: Money | None = None
    price_floor: Money | None = None
    price_ceiling: Money | None = None
    stock: int | None = None
    created_s: float = 0.0
    shop: Mapping[str, ShopOffer] = field(default_factory=dict)
    published: Mapping[str, PublishedPrice] = field(default_factory=dict)
    published_ns: int = 0
    minimum_advertised_price: Money | None = None
    category_path: tuple[str, ...] = ()


@dataclass(frozen=True)
class PriceChange:
    """A price to publish for a product and a price list; None: the published one is withdrawn.

    `updated_ns`: its time, later than that of every price published before.
    """

    product_id: str
    price_list_id: str
    price: PublishedPrice | None
    updated_ns: int


@dataclass(frozen=True)
class _ShopPrice:
    """What the shop asks in a price list at one time."""

    item: PricedItem
    is_sale: bool
    # Whether cost, floor and ceiling are in the currency of the price, as far as they are known.
    has_bounds: bool
    # When a sale begins or ends next.
    next_change_s: float


def price_changes(product: OfferedProduct, pricer: Pricer, rails: Guardrails, now_s: float) -> list[PriceChange]:
    """What must be published or withdrawn, so that the published prices are the computed ones."""
    computed = {
        list_id: price
        for list_id, asked in _asked(product, now_s)
        if (price := _computed(asked, pricer, rails, now_s)) is not None
    }
    updated_ns = max(int(now_s * 1e9), product.published_ns + 1)
    return [
        PriceChange(product.product_id, list_id, computed.get(list_id), updated_ns)
        for list_id in sorted({*computed, *product.published})
        if computed.get(list_id) != product.published.get(list_id)
    ]


def next_change_s(product: OfferedProduct, pricer: Pricer, now_s: float) -> float:
    """The next time at which `price_changes` may differ though the product does not; infinite if there is none."""
    times = (min(asked.next_change_s, pricer.next_change_s(asked.item, now_s)) for _, asked in _asked(product, now_s))
    return min(times, default=math.inf)


def _computed(asked: _ShopPrice, pricer: Pricer, rails: Guardrails, now_s: float) -> PublishedPrice | None:
    """None: the shop's price applies. A sale is not marked down further, and a price whose bounds are in another
    currency not at all.
    """
    if asked.is_sale or not asked.has_bounds:
        return None
    base = asked.item.list_price
    made = offer(asked.item, pricer(asked.item, now_s), rails).amount
    is_lower = made.amount < in_minor_units(base.amount, base.currency, ROUND_FLOOR)
    return PublishedPrice(made, base) if is_lower else None


def _asked(product: OfferedProduct, now_s: float) -> Iterator[tuple[str, _ShopPrice]]:
    """By price list: of the default list, and of each list with a price of its own."""
    default = product.shop.get(DEFAULT_LIST, _NOTHING)
    if (asked := _shop_price(product, [default], now_s)) is not None:
        yield DEFAULT_LIST, asked
    for list_id, own in product.shop.items():
        if list_id != DEFAULT_LIST and own.price is not None:
            asked = _shop_price(product, [own, default], now_s)
            if asked is not None:
                yield list_id, asked


def _shop_price(product: OfferedProduct, chain: list[ShopOffer], now_s: float) -> _ShopPrice | None:
    """Each part is that of the first offer in `chain` that has one, else the product's (offer.proto). None without a
    price.
    """
    price = next((made.price for made in chain if made.price is not None), product.price)
    if price is None:
        return None
    bounds = (product.cost, product.price_floor, product.price_ceiling, product.minimum_advertised_price)
    has_bounds = all(bound.currency == price.currency for bound in bounds if bound is not None)
    item = PricedItem(
        product.product_id, price, product.cost, product.price_floor, product.price_ceiling,
        next((made.stock for made in chain if made.stock is not None), product.stock), product.created_s,
        minimum_advertised_price=product.minimum_advertised_price, category_path=product.category_path,
    )  # fmt: skip
    sale = next((made for made in chain if made.sale_price is not None), _NOTHING)
    ends = (_or(sale.sale_starts_s, -math.inf), _or(sale.sale_ends_s, math.inf))
    following_s = min((end_s for end_s in ends if end_s > now_s), default=math.inf)
    return _ShopPrice(item, _is_on(sale, ends, price, now_s), has_bounds, following_s)


def _is_on(sale: ShopOffer, ends: tuple[float, float], price: Money, now_s: float) -> bool:
    """A sale price in another currency than the price, or above it, does not apply."""
    amount = sale.sale_price
    if amount is None or amount.currency != price.currency or amount.amount > price.amount:
        return False
    return ends[0] <= now_s < ends[1]


def _or(time_s: float | None, otherwise_s: float) -> float:
    return otherwise_s if time_s is None else time_s
