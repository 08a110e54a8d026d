"""A product with what the shop asks for it in its price lists, and what is published of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from services.common.money import Money
from services.pricing.domain.competitors import CompetitorPrice, lowest_by_currency
from services.pricing.domain.pricing import PricedItem

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
    """A price, and the shop's price that it was computed from. `lowest`: of the 30 days before it; None: not known.

    `guardrail`: what held it, a number of guardrails.Guardrail; 0: the price is the shop's own.
    """

    price: Money
    base_price: Money
    lowest: Money | None = None
    guardrail: int = 0


@dataclass(frozen=True)
class OfferedProduct:
    """What the prices of a product depend on, and what is published of it.

    `shop` and `published` by price list. `published_ns`: the time of the newest price that was published or withdrawn,
    in nanoseconds since the epoch. `competitors`: by name.
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
    competitors: Mapping[str, CompetitorPrice] = field(default_factory=dict)


@dataclass(frozen=True)
class ShopPrice:
    """What the shop asks in a price list at one time. `effective`: the price of the sale if one is on."""

    item: PricedItem
    effective: Money
    is_sale: bool
    # Whether cost and bounds are in the currency of the price, as far as they are known.
    has_bounds: bool
    # When a sale begins or ends next.
    next_change_s: float


def asked_prices(product: OfferedProduct, now_s: float, observed_from_s: float) -> Iterator[tuple[str, ShopPrice]]:
    """By price list: of the default list, and of each list with a price of its own. Competitors' prices count that were
    observed since `observed_from_s`.
    """
    lowest = lowest_by_currency(product.competitors.values(), observed_from_s)
    default = product.shop.get(DEFAULT_LIST, _NOTHING)
    if (asked := _shop_price(product, DEFAULT_LIST, [default], now_s, lowest)) is not None:
        yield DEFAULT_LIST, asked
    for list_id, own in product.shop.items():
        if list_id != DEFAULT_LIST and own.price is not None:
            asked = _shop_price(product, list_id, [own, default], now_s, lowest)
            if asked is not None:
                yield list_id, asked


def _shop_price(
    product: OfferedProduct, list_id: str, chain: list[ShopOffer], now_s: float, competitors: Mapping[str, Money]
) -> ShopPrice | None:  # fmt: skip
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
        price_list_id=list_id, minimum_advertised_price=product.minimum_advertised_price,
        category_path=product.category_path, competitor=competitors.get(price.currency),
    )  # fmt: skip
    sale = next((made for made in chain if made.sale_price is not None), _NOTHING)
    ends = (_or(sale.sale_starts_s, -math.inf), _or(sale.sale_ends_s, math.inf))
    following_s = min((end_s for end_s in ends if end_s > now_s), default=math.inf)
    is_sale = _is_on(sale, ends, price, now_s)
    effective = sale.sale_price if is_sale and sale.sale_price is not None else price
    return ShopPrice(item, effective, is_sale, has_bounds, following_s)


def _is_on(sale: ShopOffer, ends: tuple[float, float], price: Money, now_s: float) -> bool:
    """A sale price in another currency than the price, or above it, does not apply."""
    amount = sale.sale_price
    if amount is None or amount.currency != price.currency or amount.amount > price.amount:
        return False
    return ends[0] <= now_s < ends[1]


def _or(time_s: float | None, otherwise_s: float) -> float:
    return otherwise_s if time_s is None else time_s


def default_stock(product: OfferedProduct) -> int | None:
    """Pieces of the default price list."""
    own = product.shop.get(DEFAULT_LIST, _NOTHING).stock
    return product.stock if own is None else own
