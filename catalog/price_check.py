"""Prices of a catalogue file that are far from what is to be expected: mostly errors of a factor or of the currency."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import grpc
import numpy as np

from catalog.price_model import Features, expected, features_of
from kairos.common.v1 import common_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from ops.client import Connection
from services.common.money import in_minor_units, minor_unit

# Products of a currency that are needed to say what is to be expected.
LEAST = 200
# Of a file, and of the shop for a file that has fewer than LEAST. Further ones are not compared.
_MOST, _MOST_OF_SHOP = 200_000, 5_000
# A price is unusual beyond so many standard deviations, and beyond a factor: see `benchmarks.price_errors`.
_DEVIATIONS, _FACTOR = 3.0, 4.0
_PAGE, _TIMEOUT_S = 500, 30.0


@dataclass(frozen=True)
class PriceFound:
    """`price` None: the product has none. From `lowest` to `highest` is usual for such a product, `middle` is expected.

    Amounts in whole minor units of `currency`, at least one.
    """

    line: int
    product_id: str
    currency: str
    price: Decimal | None
    lowest: Decimal
    middle: Decimal
    highest: Decimal

    @property
    def distance(self) -> float:
        """From the expected price to this one, on a scale of factors, where the ends of what is usual are at 1."""
        if self.price is None:
            return 0.0
        middle, end = math.log(self.middle), math.log(self.highest)
        # Both may be the smallest unit.
        return abs(math.log(self.price) - middle) / (end - middle) if end != middle else math.inf


@dataclass(frozen=True)
class _Known:
    """`line` 0: a product of the shop that is not in the file."""

    line: int
    product_id: str
    category: str
    price: Decimal | None
    features: Features


class PriceCheck:
    """Products in each currency are compared with each other. `compared`: how many prices were."""

    def __init__(self) -> None:
        self._known = defaultdict[str, list[_Known]](list)
        self._count, self.compared = 0, 0

    def add(self, line: int, product: product_pb2.Product) -> None:
        """A product of the file."""
        self._count += 1
        if self._count <= _MOST:
            self._add(line, product)

    def read_shop(self, stub: gateway_pb2_grpc.GatewayServiceStub, connection: Connection) -> None:
        """Products of the shop to compare a small file with, as far as the gateway gives them."""
        own, count = {each.product_id for every in self._known.values() for each in every}, 0
        request = gateway_pb2.ListProductsRequest(page_size=_PAGE)
        while count < _MOST_OF_SHOP and 0 < self._count < LEAST:
            try:
                page = stub.ListProducts(request, timeout=_TIMEOUT_S, metadata=connection.metadata)
            except grpc.RpcError:
                return
            for entry in page.products:
                if entry.product.id not in own:
                    self._add(0, entry.product)
            count += len(page.products)
            if page.is_last_page:
                return
            request.page_token = page.next_page_token

    @cached_property
    def found(self) -> tuple[list[PriceFound], list[PriceFound]]:
        """(unusual prices, the farthest first; what is to be expected of products without a price, in their order).

        To be read after the last product was added.
        """
        unusual, missing = list[PriceFound](), list[PriceFound]()
        without = self._known[""]
        counts = Counter({currency: len(known) for currency, known in self._known.items() if currency})
        for number, (currency, count) in enumerate(counts.most_common()):
            if count < LEAST:
                continue
            # A product without a price is expected in the shop's main currency.
            for each in _expected(currency, self._known[currency] + (without if number == 0 else [])):
                if each.price is None:
                    missing.append(each)
                    continue
                self.compared += 1
                if not each.lowest <= each.price <= each.highest:
                    unusual.append(each)
        return sorted(unusual, key=lambda each: -each.distance), missing

    def _add(self, line: int, product: product_pb2.Product) -> None:
        price = _amount(product.price) if product.HasField("price") else None
        if price is not None and price <= 0:
            return
        currency = product.price.currency_code if price is not None else ""
        category = product.category_path[-1] if product.category_path else ""
        self._known[currency].append(_Known(line, product.id, category, price, features_of(product)))


def _expected(currency: str, known: list[_Known]) -> list[PriceFound]:
    """Of the products of the file."""
    log_prices = np.array([math.nan if each.price is None else math.log(each.price) for each in known])
    made = expected([each.features for each in known], log_prices, [each.category for each in known])
    widths = np.maximum(_DEVIATIONS * made.deviation, math.log(_FACTOR))

    def amount(log_price: float) -> Decimal:
        # Beyond e^40 no currency has prices.
        return max(in_minor_units(Decimal(math.exp(min(log_price, 40.0))), currency), minor_unit(currency))

    return [
        PriceFound(
            each.line,
            each.product_id,
            currency,
            each.price,
            amount(middle - width),
            amount(middle),
            amount(middle + width),
        )
        for each, middle, width in zip(known, made.log_price.tolist(), widths.tolist(), strict=True)
        if each.line
    ]


def _amount(money: common_pb2.Money) -> Decimal:
    return (Decimal(money.units) + Decimal(money.nanos).scaleb(-9)).normalize()
