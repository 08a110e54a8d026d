"""What a switchback of prices is analysed by: what each product brought, of the price publisher's table, and what it
costs, of the catalogue.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from experiments.switchback import Priced, Sold
from kairos.common.v1 import offer_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.common.money import MINOR_UNIT_DECIMALS, NANOS
from services.pricing.learning.periods import Periods

_PAGE = 200


def sold_of(periods: Periods) -> Iterator[Sold]:
    """One for each row."""
    for row, product_id in enumerate(periods.product_id):
        currency = periods.currency[row]
        scale = 10.0 ** -MINOR_UNIT_DECIMALS.get(currency, 0)
        yield Sold(
            product_id, periods.price_list_id[row], int(periods.day[row].astype("int64")), currency,
            float(periods.units[row]), float(periods.revenue[row]) * scale,
        )  # fmt: skip


def products_of(
    stub: gateway_pb2_grpc.GatewayServiceStub, metadata: tuple[tuple[str, str], ...], timeout_s: float
) -> dict[str, Priced]:
    """All products of the catalogue, by id. Raises grpc.RpcError."""
    found, token, is_last = dict[str, Priced](), "", False
    while not is_last:
        asked = gateway_pb2.ListProductsRequest(page_token=token, page_size=_PAGE)
        answer: Any = stub.ListProducts(asked, timeout=timeout_s, metadata=metadata)
        found |= {one.product.id: _priced(one) for one in answer.products}
        token, is_last = answer.next_page_token, answer.is_last_page
    return found


def _priced(listed: gateway_pb2.ListedProduct) -> Priced:
    """As the publisher reads a product: a price list counts if the shop has a price of its own in it."""
    lists = frozenset(
        offer.price_list_id
        for offer in listed.offers
        if offer.source != offer_pb2.OFFER_SOURCE_PRICING and offer.source != offer_pb2.OFFER_SOURCE_COMPETITOR
        and offer.HasField("price") and not (offer.place_id or offer.is_removed)
    )  # fmt: skip
    if not listed.product.HasField("cost"):
        return Priced(lists)
    cost = listed.product.cost
    return Priced(lists, cost.units + cost.nanos / NANOS if cost.currency_code else math.nan, cost.currency_code)
