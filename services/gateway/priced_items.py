"""A product as pricing is asked about it, and the quote that stands in where pricing does not answer."""

from __future__ import annotations

from kairos.common.v1 import product_pb2
from kairos.pricing.v1 import pricing_pb2


def priced_item(product: product_pb2.Product) -> pricing_pb2.PricedItem:
    item = pricing_pb2.PricedItem(
        item_id=product.id, list_price=product.price, created_at_seconds=product.created_at.seconds
    )
    if product.HasField("cost"):
        item.cost.CopyFrom(product.cost)
    if product.HasField("price_floor"):
        item.price_floor.CopyFrom(product.price_floor)
    if product.HasField("price_ceiling"):
        item.price_ceiling.CopyFrom(product.price_ceiling)
    if product.HasField("stock"):
        item.stock = product.stock
    return item


def list_price(product: product_pb2.Product) -> pricing_pb2.PriceQuote:
    price = product.price
    return pricing_pb2.PriceQuote(
        item_id=product.id, list_price=price, price_floor=price, price_ceiling=price, offer=price,
        reason=pricing_pb2.PRICE_REASON_FALLBACK, explanation="No quote came in time: the list price stands.",
    )  # fmt: skip
