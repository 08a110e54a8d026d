"""Protobuf <-> domain for offers. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from kairos.common.v1 import common_pb2, offer_pb2
from services.common.convert import money_from_proto, money_to_proto, time_from_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import id_problem
from services.common.money import Money
from services.common.offers import Fulfilment, Offer, OfferSource, offer_violations

_SOURCES: Mapping[int, OfferSource] = {
    offer_pb2.OFFER_SOURCE_UNSPECIFIED: OfferSource.SHOP,
    offer_pb2.OFFER_SOURCE_SHOP: OfferSource.SHOP,
    offer_pb2.OFFER_SOURCE_PRICING: OfferSource.PRICING,
    offer_pb2.OFFER_SOURCE_COMPETITOR: OfferSource.COMPETITOR,
}
_FULFILMENTS: Mapping[int, Fulfilment | None] = {
    offer_pb2.FULFILMENT_UNSPECIFIED: None,
    offer_pb2.FULFILMENT_PICKUP: Fulfilment.PICKUP,
    offer_pb2.FULFILMENT_DELIVERY: Fulfilment.DELIVERY,
}
_SOURCE_NAMES: Mapping[OfferSource, offer_pb2.OfferSource.ValueType] = {
    OfferSource.SHOP: offer_pb2.OFFER_SOURCE_SHOP,
    OfferSource.PRICING: offer_pb2.OFFER_SOURCE_PRICING,
    OfferSource.COMPETITOR: offer_pb2.OFFER_SOURCE_COMPETITOR,
}
_FULFILMENT_NAMES: Mapping[Fulfilment, offer_pb2.Fulfilment.ValueType] = {
    Fulfilment.PICKUP: offer_pb2.FULFILMENT_PICKUP,
    Fulfilment.DELIVERY: offer_pb2.FULFILMENT_DELIVERY,
}
_NS = 10**9
_Amount = Literal["price", "sale_price", "base_price", "lowest_price_30_days"]


def offer_from_proto(message: offer_pb2.Offer, now_s: float, prefix: str = "") -> Offer:
    """A valid offer. Raises InvalidArgument with paths below `prefix`, such as "offers[3].". `now_s`: since 1970.

    A removed offer keeps only what names it.
    """
    if problem := id_problem(message.product_id):
        raise InvalidArgument.of(f"{prefix}product_id", problem)
    if not message.HasField("updated_at"):
        raise InvalidArgument.of(f"{prefix}updated_at", "is missing; send the time at which the offer changed")
    source = _SOURCES.get(message.source)
    if source is None:
        raise InvalidArgument.of(f"{prefix}source", f"{message.source} is unknown; use an OfferSource")
    updated_at = message.updated_at
    names = (updated_at.seconds * _NS + updated_at.nanos, message.price_list_id, message.place_id, source)
    offer = Offer(*names, is_removed=True) if message.is_removed else Offer(*names, **_content(message, prefix))
    if wrong := offer_violations(offer, now_s):
        raise InvalidArgument(*(FieldViolation(prefix + entry.field, entry.description) for entry in wrong))
    return offer


def offer_to_proto(product_id: str, offer: Offer) -> offer_pb2.Offer:
    message = offer_pb2.Offer(
        product_id=product_id,
        price_list_id=offer.price_list_id,
        place_id=offer.place_id,
        stock=offer.stock,
        fulfilments=[_FULFILMENT_NAMES[way] for way in sorted(offer.fulfilments)],
        is_removed=offer.is_removed,
        source=_SOURCE_NAMES[offer.source],
        price=_money(offer.price),
        sale_price=_money(offer.sale_price),
        base_price=_money(offer.base_price),
        lowest_price_30_days=_money(offer.lowest_30_days),
        guardrail=offer_pb2.PriceGuardrail.ValueType(offer.guardrail),
    )
    message.updated_at.seconds, message.updated_at.nanos = divmod(offer.updated_at_ns, _NS)
    if offer.sale_starts_at is not None:
        message.sale_starts_at.FromDatetime(offer.sale_starts_at)
    if offer.sale_ends_at is not None:
        message.sale_ends_at.FromDatetime(offer.sale_ends_at)
    return message


def fulfilment_from_proto(value: int, path: str) -> Fulfilment | None:
    """None: any way."""
    if value not in _FULFILMENTS:
        raise InvalidArgument.of(path, f"{value} is unknown; use a Fulfilment")
    return _FULFILMENTS[value]


def _content(message: offer_pb2.Offer, prefix: str) -> dict[str, Any]:
    def money(name: _Amount) -> Money | None:
        return money_from_proto(getattr(message, name), prefix + name) if message.HasField(name) else None

    if message.guardrail not in offer_pb2.PriceGuardrail.values():
        raise InvalidArgument.of(f"{prefix}guardrail", f"{message.guardrail} is unknown; use a PriceGuardrail")

    def moment(name: Literal["sale_starts_at", "sale_ends_at"]) -> datetime | None:
        return time_from_proto(getattr(message, name), prefix + name) if message.HasField(name) else None

    ways = [
        fulfilment_from_proto(value, f"{prefix}fulfilments[{index}]") for index, value in enumerate(message.fulfilments)
    ]
    return {
        "price": money("price"),
        "sale_price": money("sale_price"),
        "sale_starts_at": moment("sale_starts_at"),
        "sale_ends_at": moment("sale_ends_at"),
        "stock": max(0, message.stock) if message.HasField("stock") else None,
        # One of them is any way: then all are.
        "fulfilments": frozenset() if None in ways else frozenset(ways),
        "base_price": money("base_price"),
        "lowest_30_days": money("lowest_price_30_days"),
        "guardrail": message.guardrail,
    }


def _money(money: Money | None) -> common_pb2.Money | None:
    return None if money is None else money_to_proto(money)
