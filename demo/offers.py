"""The offers of the demo shop: two price lists, three stores, and a sale. Reproducible: made of the products' ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from demo.catalogue import DemoProduct
from kairos.common.v1 import offer_pb2
from services.common.convert import money_to_proto, time_to_proto
from services.common.money import Money

# Members of the shop's club pay less; the price list of Europe is in euros, and has no conversion: the shop sets it.
MEMBERS, EUROPE = "members", "europe"
STORES = ("harbour", "old-town", "airport")
_MEMBER_SHARE, _EURO_SHARE = Decimal("0.92"), Decimal("0.95")
_CENT = Decimal("0.01")
# One in so many products is on sale, at this share of its price.
_ONE_ON_SALE, _SALE_SHARE = 25, Decimal("0.75")
_SALE = timedelta(days=30)


def build_offers(products: Sequence[DemoProduct], now: datetime) -> Iterator[offer_pb2.Offer]:
    """Prices of both lists, stock of each store for about half of the products, and a sale that is on `now`."""
    for product in products:
        yield _offer(product, now, EUROPE, price=Money("EUR", _cents(product.price * _EURO_SHARE)))
        if _draw(product, MEMBERS) % 2:
            yield _offer(product, now, MEMBERS, price=_usd(product.price * _MEMBER_SHARE))
        if _draw(product, "sale") % _ONE_ON_SALE == 0:
            sale = _offer(product, now, price=_usd(product.price))
            sale.sale_price.CopyFrom(money_to_proto(_usd(product.price * _SALE_SHARE)))
            sale.sale_starts_at.CopyFrom(time_to_proto(now - timedelta(days=1)))
            sale.sale_ends_at.CopyFrom(time_to_proto(now + _SALE))
            yield sale
        for store in STORES:
            pieces = _draw(product, store) % 12 - 5
            offer = _offer(product, now, place=store)
            offer.stock = max(0, pieces)
            offer.fulfilments.append(offer_pb2.FULFILMENT_PICKUP)
            yield offer


def _offer(
    product: DemoProduct, now: datetime, price_list: str = "", place: str = "", price: Money | None = None
) -> offer_pb2.Offer:
    offer = offer_pb2.Offer(
        product_id=product.id, price_list_id=price_list, place_id=place, updated_at=time_to_proto(now.astimezone(UTC))
    )
    if price is not None:
        offer.price.CopyFrom(money_to_proto(price))
    return offer


def _usd(amount: Decimal) -> Money:
    return Money("USD", _cents(amount))


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT)


def _draw(product: DemoProduct, purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{purpose}/{product.id}".encode(), digest_size=4).digest())
