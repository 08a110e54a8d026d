"""Protobuf <-> domain of what the gateway returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from kairos.common.v1 import common_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import faq_pb2, gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from services.assistant.domain.conversation import ATTRIBUTE, BRAND, CATEGORY, PRICE
from services.assistant.domain.shop import (
    Degraded,
    FacetValue,
    FaqAnswer,
    FieldCounts,
    Found,
    Interpretation,
    Item,
    ReadCondition,
)
from services.assistant.ports import Query, Shopper
from services.common.convert import filter_from_proto, filter_to_proto, money_from_proto, product_from_proto
from services.common.filters import PriceRange, SortOrder
from services.common.money import Money

# Facets that every search counts, and how many more the gateway chooses by coverage.
_FACETS = ("category", "brand", "price")
_BEST_FACETS = 8

_SORTS = {
    SortOrder.RELEVANCE: product_pb2.SORT_ORDER_RELEVANCE,
    SortOrder.PRICE_ASCENDING: product_pb2.SORT_ORDER_PRICE_ASCENDING,
    SortOrder.PRICE_DESCENDING: product_pb2.SORT_ORDER_PRICE_DESCENDING,
    SortOrder.NEWEST: product_pb2.SORT_ORDER_NEWEST,
}
_FIELDS = {
    encoder_pb2.CONSTRAINT_TYPE_PRICE: PRICE,
    encoder_pb2.CONSTRAINT_TYPE_BRAND: BRAND,
    encoder_pb2.CONSTRAINT_TYPE_CATEGORY: CATEGORY,
}
_ATTRIBUTES = (encoder_pb2.CONSTRAINT_TYPE_COLOUR, encoder_pb2.CONSTRAINT_TYPE_ATTRIBUTE)


def sort_to_proto(sort: SortOrder) -> product_pb2.SortOrder.ValueType:
    return _SORTS[sort]


def sort_from_proto(sort: product_pb2.SortOrder.ValueType) -> SortOrder:
    return next((one for one, number in _SORTS.items() if number == sort), SortOrder.RELEVANCE)


# Of the searches of conversations: figures by placement show what they lead to, by the tokens of the cards.
PLACEMENT = "conversation"


def request_of(query: Query, shopper: Shopper) -> gateway_pb2.SearchRequest:
    return gateway_pb2.SearchRequest(
        query=query.text,
        user_id=shopper.user_id,
        visitor_id=shopper.visitor_id,
        session_id=shopper.session_id,
        locale=query.locale,
        filter=filter_to_proto(query.filter),
        sort=sort_to_proto(query.sort),
        facets=_FACETS if query.facets else (),
        best_facet_count=_BEST_FACETS if query.facets else 0,
        page_size=query.size,
        explain=query.explain,
        collapse=product_pb2.COLLAPSE_MODE_NONE if query.variants else product_pb2.COLLAPSE_MODE_GROUP,
        price_list_id=shopper.price_list_id,
        currency_code=shopper.currency_code,
        place_id=shopper.place_id,
        # Cards have no label of an advertiser, and the FAQ is asked for questions only.
        sponsored=gateway_pb2.SPONSORED_MODE_OFF,
        faq=gateway_pb2.FAQ_MODE_OFF,
        placement=PLACEMENT,
    )


def found_from_proto(message: gateway_pb2.SearchResponse) -> Found:
    return Found(
        tuple(item_of_result(result, message.attribution_token) for result in message.results),
        message.total_size,
        tuple(map(_facet, message.facets)),
        replace(_interpretation(message.interpretation), missing_words=tuple(message.missing_words)),
        message.relevance if message.HasField("relevance") else None,
        not message.HasField("no_good_match"),
        tuple(degradations_from_proto(message.degradations)),
    )


def item_of_result(message: gateway_pb2.Result, token: str) -> Item:
    price, list_price = _prices(message.price) if message.HasField("price") else (None, None)
    return Item(
        product_from_proto(message.product, "product"),
        price,
        list_price,
        variants_from_proto(message.variants),
        message.relevance if message.HasField("relevance") else None,
        message.explanation.text,
        message.SerializeToString(),
        token,
    )


def item_of_product(message: gateway_pb2.GetProductResponse, quote: pricing_pb2.PriceQuote | None) -> Item:
    price, list_price = _prices(quote) if quote is not None else (None, None)
    result = gateway_pb2.Result(product=message.product, price=quote)
    return Item(
        product_from_proto(message.product, "product"), price, list_price, variants_from_proto(message.variants),
        wire=result.SerializeToString(),
    )  # fmt: skip


def variants_from_proto(variants: Iterable[product_pb2.Variant]) -> dict[str, dict[str, tuple[str, ...]]]:
    return {
        one.product_id: {name: tuple(values.values) for name, values in sorted(one.attributes.items())}
        for one in variants
    }


def faq_from_proto(message: faq_pb2.FaqMatch) -> FaqAnswer:
    entry = message.entry
    return FaqAnswer(
        entry.id, entry.version, entry.question, entry.answer, entry.locale.partition("-")[0].lower(),
        tuple(entry.product_ids), tuple(entry.categories),
    )  # fmt: skip


def degradations_from_proto(messages: Iterable[common_pb2.Degradation]) -> Iterator[Degraded]:
    for one in messages:
        # A newer gateway may have stages and reasons that this contract lacks.
        if one.stage in common_pb2.Stage.values() and one.reason in common_pb2.DegradationReason.values():
            stage, reason = common_pb2.Stage.Name(one.stage), common_pb2.DegradationReason.Name(one.reason)
            yield Degraded(stage, reason, one.fallback, one.detail)


def _prices(quote: pricing_pb2.PriceQuote) -> tuple[Money, Money]:
    return money_from_proto(quote.offer, "price.offer"), money_from_proto(quote.list_price, "price.list_price")


def _facet(message: product_pb2.Facet) -> FieldCounts:
    values = [FacetValue(one.value, one.count) for one in message.counts]
    if message.field == PRICE:
        values = [FacetValue("", one.count, _range(one.price)) for one in message.ranges]
    return FieldCounts(message.field, tuple(values), message.coverage)


def _range(message: product_pb2.PriceRange) -> PriceRange | None:
    return filter_from_proto(product_pb2.ProductFilter(price=message), "facet").price


def _interpretation(message: gateway_pb2.QueryInterpretation) -> Interpretation:
    subjects = list[str]()
    for part in message.interpreted_as:
        is_category = part.constraint.type == encoder_pb2.CONSTRAINT_TYPE_CATEGORY
        is_product = part.concept.kind == encoder_pb2.CONCEPT_KIND_PRODUCT
        if part.product_type or is_category or is_product:
            subjects.append(part.matched_text)
    return Interpretation(tuple(_conditions(message.constraints)), tuple(dict.fromkeys(subjects)))


def _conditions(constraints: Iterable[encoder_pb2.Constraint]) -> Iterator[ReadCondition]:
    for one in constraints:
        if one.type in _ATTRIBUTES:
            yield ReadCondition(f"{ATTRIBUTE}{one.attribute or 'colour'}", one.matched_text, one.value)
        elif one.type == encoder_pb2.CONSTRAINT_TYPE_PRICE:
            yield ReadCondition(PRICE, one.matched_text, price=_range(one.price))
        elif one.type in _FIELDS:
            yield ReadCondition(_FIELDS[one.type], one.matched_text, one.value)
