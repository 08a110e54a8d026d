"""Quotes for products at their effective offers, and QuotePrices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from kairos.common.v1 import event_pb2, offer_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import money_to_proto
from services.common.errors import InvalidArgument
from services.common.product import PRICE_BOUNDS
from services.gateway import fallbacks
from services.gateway.convert import check_texts, price_reason, require_ids
from services.gateway.domain.budget import Stage
from services.gateway.domain.effective_offer import EffectiveOffer
from services.gateway.flows.disclosure import disclosed_quote
from services.gateway.flows.effective_offers import offers_of
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

MAX_QUOTES = 100
_ANY = offer_pb2.OfferContext()
_NO_QUOTE = pricing_pb2.PriceQuote()


async def quote_prices(
    calls: StageCalls, parts: Parts, message: gateway_pb2.QuotePricesRequest
) -> gateway_pb2.QuotePricesResponse:
    check_texts(message)
    require_ids("product_ids", message.product_ids, MAX_QUOTES)
    context = offer_pb2.OfferContext(
        price_list_id=message.price_list_id, currency_code=message.currency_code, place_id=message.place_id
    )
    lookup = retrieval_pb2.LookupProductsRequest(
        ids=list(dict.fromkeys(message.product_ids)), with_products=True, offer_context=context
    )
    found = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.LookupProducts, lookup, [Stage.PRICING])
    products = [product_pb2.Product.FromString(data) for data in found.candidates.products]
    offers = offers_of(found.candidates)
    _require_currency(products, offers, message.currency_code)
    quotes = await quote(calls, parts, products, offers, context)
    return gateway_pb2.QuotePricesResponse(
        quotes=[quotes[product.id] for product in products if product.id in quotes],
        missing_ids=found.missing_ids,
        unpriced_ids=[product.id for product in products if product.id not in quotes],
        degradations=calls.degradations,
        request_id=calls.info.request_id,
    )


async def quote(
    calls: StageCalls,
    parts: Parts,
    products: Sequence[product_pb2.Product],
    offers: Mapping[str, EffectiveOffer],
    context: offer_pb2.OfferContext = _ANY,
) -> dict[str, pricing_pb2.PriceQuote]:
    """Quotes by product id. A product without an effective offer has none.

    `offers`: by product id, for the price list and the place of `context`.
    """
    priced = [(product, offer) for product in products if (offer := offers.get(product.id)) is not None]
    if not priced:
        return {}
    message = pricing_pb2.QuotePricesRequest(items=(_priced_item(*pair, context) for pair in priced))
    answer = await calls.call_or_degrade(
        Stage.PRICING, parts.stubs.pricing.QuotePrices, message, [], fallbacks.PUBLISHED_OFFER,
        is_valid=lambda quoted: len(quoted.quotes) == len(priced),
    )  # fmt: skip
    quotes = answer.quotes if answer is not None else fallbacks.pricing_late(message.items)
    parts.metrics.count_offers(quotes)
    return {quote.item_id: disclosed_quote(calls.info, quote) for quote in quotes}


def shown_prices(
    quotes: Sequence[pricing_pb2.PriceQuote | None],
    offers: Sequence[EffectiveOffer | None],
    context: offer_pb2.OfferContext,
) -> event_pb2.ShownPrices | None:
    """For the log, of the results of a page: their quotes and their effective offers. None if none has a price."""
    if not any(quotes):
        return None
    shown = [quote or _NO_QUOTE for quote in quotes]
    return event_pb2.ShownPrices(
        price_list_id=context.price_list_id, place_id=context.place_id, offers=[quote.offer for quote in shown],
        list_prices=[quote.list_price for quote in shown], reasons=map(price_reason, shown),
        quote_ids=[quote.quote_id for quote in shown],
        in_stock=[offer is None or offer.stock != 0 for offer in offers],
    )  # fmt: skip


def _require_currency(
    products: Iterable[product_pb2.Product], offers: Mapping[str, EffectiveOffer], wanted: str
) -> None:
    """Raises InvalidArgument for a product that is priced, but not in the wanted currency."""
    for product in products:
        offer = offers.get(product.id)
        has = offer.price.currency if offer else product.price.currency_code
        if wanted and has and has != wanted:
            raise InvalidArgument.of("currency_code", f"is {wanted!r}, but {product.id!r} is priced in {has}")


def _priced_item(
    product: product_pb2.Product, offer: EffectiveOffer, context: offer_pb2.OfferContext
) -> pricing_pb2.PricedItem:
    item = pricing_pb2.PricedItem(
        item_id=product.id, list_price=money_to_proto(offer.list_price), offer=money_to_proto(offer.price),
        created_at_seconds=product.created_at.seconds, stock=offer.stock, price_list_id=context.price_list_id,
        place_id=context.place_id, category_path=product.category_path,
        guardrail=offer_pb2.PriceGuardrail.ValueType(offer.guardrail),
        lowest_price_30_days=money_to_proto(offer.lowest) if offer.lowest else None,
    )  # fmt: skip
    # A price list in another currency has no bounds: they are not converted.
    if product.price.currency_code == offer.price.currency:
        for name in PRICE_BOUNDS:
            if product.HasField(name):
                getattr(item, name).CopyFrom(getattr(product, name))
    return item
