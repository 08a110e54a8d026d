"""Offers of pricing for products, and QuotePrices."""

from __future__ import annotations

from collections.abc import Sequence

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.errors import InvalidArgument
from services.gateway import fallbacks
from services.gateway.convert import check_texts, require_ids
from services.gateway.domain.budget import Stage
from services.gateway.flows.catalogue import lookup_products
from services.gateway.flows.disclosure import disclosed_quote
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

MAX_QUOTES = 100


async def quote_prices(
    calls: StageCalls, parts: Parts, message: gateway_pb2.QuotePricesRequest
) -> gateway_pb2.QuotePricesResponse:
    check_texts(message)
    require_ids("product_ids", message.product_ids, MAX_QUOTES)
    ids = list(dict.fromkeys(message.product_ids))
    products, missing = await lookup_products(calls, parts, ids, [Stage.PRICING])
    wanted = message.currency_code
    for product in products:
        if wanted and product.HasField("price") and product.price.currency_code != wanted:
            raise InvalidArgument.of(
                "currency_code", f"is {wanted!r}, but {product.id!r} is priced in {product.price.currency_code}"
            )
    quotes = await quote(calls, parts, products)
    return gateway_pb2.QuotePricesResponse(
        quotes=[quotes[product.id] for product in products if product.id in quotes],
        missing_ids=missing,
        unpriced_ids=[product.id for product in products if product.id not in quotes],
        degradations=calls.degradations,
        request_id=calls.info.request_id,
    )


async def quote(
    calls: StageCalls, parts: Parts, products: Sequence[product_pb2.Product]
) -> dict[str, pricing_pb2.PriceQuote]:
    """Offers by product id. A product without a list price has none."""
    priced = [product for product in products if product.HasField("price")]
    if not priced:
        return {}
    message = pricing_pb2.QuotePricesRequest(items=map(_priced_item, priced))
    answer = await calls.call_or_degrade(
        Stage.PRICING, parts.stubs.pricing.QuotePrices, message, [], fallbacks.LIST_PRICE,
        is_valid=lambda quoted: len(quoted.quotes) == len(priced),
    )  # fmt: skip
    quotes = answer.quotes if answer is not None else fallbacks.pricing_late(priced)
    parts.metrics.count_offers(quotes)
    return {quote.item_id: disclosed_quote(calls.info, quote) for quote in quotes}


def _priced_item(product: product_pb2.Product) -> pricing_pb2.PricedItem:
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
