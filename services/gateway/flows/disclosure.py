"""Costs, the bounds of prices and moderation: a key with the role `write` sees them, any other does not."""

from __future__ import annotations

from kairos.common.v1 import product_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.product import PRICE_BOUNDS
from services.gateway.request_info import RequestInfo

_AT_A_BOUND = "The price is at a bound that the shop has set."


def disclosed_product(info: RequestInfo, product: product_pb2.Product) -> product_pb2.Product:
    """The same message, without what the caller may not see."""
    return product if info.role == "write" else shopper_product(product)


def shopper_product(product: product_pb2.Product) -> product_pb2.Product:
    """The same message, with what a shop's page may show."""
    for field in PRICE_BOUNDS:
        product.ClearField(field)
    product.ClearField("moderation")
    return product


def disclosed_quote(info: RequestInfo, quote: pricing_pb2.PriceQuote) -> pricing_pb2.PriceQuote:
    """The same message, without what the caller may not see. The sentence about a guardrail names the floor."""
    if info.role != "write":
        quote.ClearField("price_floor")
        quote.ClearField("price_ceiling")
        if quote.reason == pricing_pb2.PRICE_REASON_GUARDRAIL:
            quote.explanation = _AT_A_BOUND
    return quote
