"""The sale that a row of a catalogue describes, as an offer of the default price list at any place."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from catalog.bounds import Warn
from catalog.dates import parse_time
from catalog.fields import one
from catalog.files import RowRefused
from catalog.mapping import ProductMapping
from catalog.money import parse_money
from kairos.common.v1 import offer_pb2, product_pb2
from services.common.convert import money_from_proto, money_to_proto
from services.common.money import Money

# Either column shows that the file tells of sales.
_AMOUNTS = ("sale_price", "compare_at_price")


def offer_of(
    mapping: ProductMapping, row: Mapping[str, Any], product: product_pb2.Product, now: datetime, warn: Warn
) -> offer_pb2.Offer | None:
    """The sale of the product; a withdrawn offer if it has none, so that an earlier sale ends. None if the file does
    not tell of sales. `warn` is called for a wrong value, and the product then has no sale.

    `sale_price` is below the product's price. `compare_at_price` is the price without the sale, and the product's is
    the reduced one.
    """
    if not any(field in mapping.columns_of(row) for field in _AMOUNTS):
        return None
    offer = offer_pb2.Offer(product_id=product.id)
    offer.updated_at.FromDatetime(now)
    try:
        _set_sale(offer, mapping, row, product)
    except RowRefused as refused:
        warn(refused.field, refused.reason)
        offer = offer_pb2.Offer(product_id=product.id, updated_at=offer.updated_at)
    offer.is_removed = not offer.HasField("sale_price")
    return offer


def _set_sale(
    offer: offer_pb2.Offer, mapping: ProductMapping, row: Mapping[str, Any], product: product_pb2.Product
) -> None:
    if not product.HasField("price"):
        return
    price = money_from_proto(product.price, "price")
    reduced = _amount("sale_price", mapping, row, price)
    regular = price if reduced is not None else _amount("compare_at_price", mapping, row, price)
    reduced = price if reduced is None else reduced
    if regular is None or reduced.amount == regular.amount:
        return
    if reduced.amount > regular.amount:
        if regular is price:
            raise RowRefused("sale_price", f"{reduced} is above the price {price}; leave it out without a sale")
        return  # a shop keeps an old price to compare with
    starts, ends = (_time(field, mapping, row) for field in ("sale_starts_at", "sale_ends_at"))
    if starts and ends and ends <= starts:
        raise RowRefused("sale_ends_at", f"{ends.isoformat()} is not after the beginning {starts.isoformat()}")
    offer.price.CopyFrom(money_to_proto(regular))
    offer.sale_price.CopyFrom(money_to_proto(reduced))
    if starts:
        offer.sale_starts_at.FromDatetime(starts)
    if ends:
        offer.sale_ends_at.FromDatetime(ends)


def _amount(field: str, mapping: ProductMapping, row: Mapping[str, Any], price: Money) -> Money | None:
    """The amount of a cell, in the currency of the price. 0 is what programs write for no sale."""
    if not (values := mapping.values_of(field, row)):
        return None
    money = parse_money(field, one(values), price.currency, mapping.notation, only=True)
    return money if money.amount > Decimal(0) else None


def _time(field: str, mapping: ProductMapping, row: Mapping[str, Any]) -> datetime | None:
    values = mapping.values_of(field, row)
    return parse_time(field, one(values)) if values else None
