"""Protobuf <-> domain. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from typing import Any, Literal

from kairos.common.v1 import common_pb2, offer_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.convert import money_from_proto, money_to_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_LIST_ID, id_problem, text_problem
from services.common.money import Money, in_minor_units
from services.common.product import MAX_CATEGORY, MAX_CATEGORY_LEVELS, PriceBound
from services.pricing.domain.guardrails import Guardrail
from services.pricing.domain.pricing import Offer, PricedItem, PriceReason

# Items of one request.
MAX_ITEMS = 1_000
_REASONS = {
    PriceReason.LIST_PRICE: pricing_pb2.PRICE_REASON_LIST_PRICE,
    PriceReason.OVERSTOCK: pricing_pb2.PRICE_REASON_OVERSTOCK,
    PriceReason.AGED: pricing_pb2.PRICE_REASON_AGED,
    PriceReason.GUARDRAIL: pricing_pb2.PRICE_REASON_GUARDRAIL,
    PriceReason.PUBLISHED: pricing_pb2.PRICE_REASON_PUBLISHED,
}


def items_from_proto(request: pricing_pb2.QuotePricesRequest) -> list[PricedItem]:
    if not 1 <= len(request.items) <= MAX_ITEMS:
        raise InvalidArgument.of("items", f"has {len(request.items)} entries; send 1 to {MAX_ITEMS}")
    items = [_item(message, f"items[{index}]") for index, message in enumerate(request.items)]
    first_index: dict[str, int] = {}
    wrong = [
        FieldViolation(f"items[{index}].item_id", f"{item.item_id!r} is items[{first}] already; send each item once")
        for index, item in enumerate(items)
        if (first := first_index.setdefault(item.item_id, index)) != index
    ]
    if wrong:
        raise InvalidArgument(*wrong)
    return items


def quote_to_proto(item: PricedItem, offer: Offer, **more: Any) -> pricing_pb2.PriceQuote:
    """`more`: the fields that do not depend on the item."""
    return pricing_pb2.PriceQuote(
        item_id=item.item_id,
        list_price=money_to_proto(item.list_price),
        price_floor=money_to_proto(offer.floor),
        price_ceiling=money_to_proto(offer.ceiling),
        offer=money_to_proto(offer.amount),
        reason=_REASONS[offer.reason],
        explanation=offer.explanation,
        guardrail=offer_pb2.PriceGuardrail.ValueType(offer.guardrail),
        lowest_price_30_days=_lowest(item, offer),
        **more,
    )


def _lowest(item: PricedItem, offer: Offer) -> common_pb2.Money | None:
    """Only of a reduction."""
    is_reduced = item.lowest_30_days is not None and offer.amount.amount < item.list_price.amount
    return money_to_proto(item.lowest_30_days) if is_reduced and item.lowest_30_days else None


def _item(message: pricing_pb2.PricedItem, path: str) -> PricedItem:
    if problem := id_problem(message.item_id):
        raise InvalidArgument.of(f"{path}.item_id", problem)
    if message.stock < 0:
        raise InvalidArgument.of(f"{path}.stock", f"{message.stock} is negative; leave it out if it is not tracked")
    if not message.HasField("list_price"):
        raise InvalidArgument.of(f"{path}.list_price", "is missing; it is required")
    price = money_from_proto(message.list_price, f"{path}.list_price")

    def money(name: PriceBound | Literal["offer", "lowest_price_30_days"]) -> Money | None:
        if not message.HasField(name):
            return None
        amount = money_from_proto(getattr(message, name), f"{path}.{name}")
        if amount.currency != price.currency:
            raise InvalidArgument.of(
                f"{path}.{name}.currency_code", f"is {amount.currency}, the list price is in {price.currency}; use one"
            )
        if amount.amount < 0:
            raise InvalidArgument.of(f"{path}.{name}", f"{amount.amount} is negative")
        return amount

    if price.amount < 0:
        raise InvalidArgument.of(f"{path}.list_price", f"{price.amount} is negative")
    floor, ceiling = money("price_floor"), money("price_ceiling")
    if floor and ceiling and floor.amount > ceiling.amount:
        raise InvalidArgument.of(f"{path}.price_floor", f"{floor} is above price_ceiling {ceiling}; swap them")
    if published := money("offer"):
        if published.amount > price.amount:
            raise InvalidArgument.of(f"{path}.offer", f"{published} is above list_price {price}; raise list_price")
        whole = Money(price.currency, in_minor_units(published.amount, price.currency))
        if whole.amount != published.amount:
            raise InvalidArgument.of(f"{path}.offer", f"{published.amount} is no whole number of minor units; round it")
        # With the decimals of its currency, as computed offers.
        published = whole
    for name in ("price_list_id", "place_id"):
        if problem := text_problem(getattr(message, name), MAX_LIST_ID):
            raise InvalidArgument.of(f"{path}.{name}", problem)
    if len(message.category_path) > MAX_CATEGORY_LEVELS:
        raise InvalidArgument.of(
            f"{path}.category_path", f"has {len(message.category_path)} levels; at most {MAX_CATEGORY_LEVELS}"
        )
    for level, name in enumerate(message.category_path):
        if problem := text_problem(name, MAX_CATEGORY):
            raise InvalidArgument.of(f"{path}.category_path[{level}]", problem)
    if message.guardrail and int(message.guardrail) not in list(Guardrail):
        raise InvalidArgument.of(f"{path}.guardrail", f"is {message.guardrail}; send a PriceGuardrail")
    return PricedItem(
        item_id=message.item_id,
        list_price=price,
        cost=money("cost"),
        price_floor=floor,
        price_ceiling=ceiling,
        stock=message.stock if message.HasField("stock") else None,
        created_s=float(message.created_at_seconds),
        published=published,
        price_list_id=message.price_list_id,
        place_id=message.place_id,
        minimum_advertised_price=money("minimum_advertised_price"),
        category_path=tuple(message.category_path),
        guardrail=message.guardrail,
        lowest_30_days=money("lowest_price_30_days"),
    )
