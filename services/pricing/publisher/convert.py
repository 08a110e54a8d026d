"""Protobuf <-> domain, for the publisher."""

from __future__ import annotations

from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import offer_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.convert import money_from_proto, money_to_proto
from services.common.money import Money
from services.common.product import PriceBound
from services.pricing.domain.competitors import CompetitorPrice
from services.pricing.domain.publication import OfferedProduct, PriceChange, PublishedPrice, ShopOffer


def product_from_proto(listed: gateway_pb2.ListedProduct) -> OfferedProduct:
    """Raises InvalidArgument for an unreadable amount. Offers of single places are left out."""
    product = listed.product
    shop: dict[str, ShopOffer] = {}
    published: dict[str, PublishedPrice] = {}
    competitors: dict[str, CompetitorPrice] = {}
    published_ns = 0
    for made in listed.offers:
        if made.source == offer_pb2.OFFER_SOURCE_PRICING:
            published_ns = max(published_ns, made.updated_at.ToNanoseconds())
        if made.source == offer_pb2.OFFER_SOURCE_COMPETITOR and not made.is_removed:
            is_sold_out = made.HasField("stock") and made.stock <= 0
            competitors[made.place_id] = CompetitorPrice(
                money_from_proto(made.price, "price"), _seconds(made.updated_at), is_sold_out
            )
        if made.place_id or made.is_removed:
            continue
        if made.source == offer_pb2.OFFER_SOURCE_PRICING:
            price, base = money_from_proto(made.price, "price"), money_from_proto(made.base_price, "base_price")
            lowest = None
            if made.HasField("lowest_price_30_days"):
                lowest = money_from_proto(made.lowest_price_30_days, "lowest_price_30_days")
            published[made.price_list_id] = PublishedPrice(price, base, lowest, made.guardrail)
        else:
            shop[made.price_list_id] = _shop_offer(made)

    def money(name: Literal["price"] | PriceBound) -> Money | None:
        return money_from_proto(getattr(product, name), name) if product.HasField(name) else None

    return OfferedProduct(
        product.id, money("price"), money("cost"), money("price_floor"), money("price_ceiling"),
        product.stock if product.HasField("stock") else None, float(product.created_at.seconds), shop, published,
        published_ns, money("minimum_advertised_price"), tuple(product.category_path), competitors,
    )  # fmt: skip


def change_to_proto(change: PriceChange) -> offer_pb2.Offer:
    made = offer_pb2.Offer(
        product_id=change.product_id, price_list_id=change.price_list_id, source=offer_pb2.OFFER_SOURCE_PRICING
    )
    made.updated_at.FromNanoseconds(change.updated_ns)
    if change.price is None:
        made.is_removed = True
    else:
        made.price.CopyFrom(money_to_proto(change.price.price))
        made.base_price.CopyFrom(money_to_proto(change.price.base_price))
        if change.price.lowest is not None:
            made.lowest_price_30_days.CopyFrom(money_to_proto(change.price.lowest))
        made.guardrail = offer_pb2.PriceGuardrail.ValueType(change.price.guardrail)
    return made


def _shop_offer(made: offer_pb2.Offer) -> ShopOffer:
    return ShopOffer(
        money_from_proto(made.price, "price") if made.HasField("price") else None,
        money_from_proto(made.sale_price, "sale_price") if made.HasField("sale_price") else None,
        _seconds(made.sale_starts_at) if made.HasField("sale_starts_at") else None,
        _seconds(made.sale_ends_at) if made.HasField("sale_ends_at") else None,
        # A negative stock counts as 0.
        max(0, made.stock) if made.HasField("stock") else None,
    )


def _seconds(moment: Timestamp) -> float:
    return moment.ToNanoseconds() / 1e9
