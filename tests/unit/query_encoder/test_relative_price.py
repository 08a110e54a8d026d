"""Prices relative to their categories."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest

from services.common.money import Money
from services.common.product import Product
from services.query_encoder.domain.relative_price import PriceBook


def product(price: float | None, *category: str, currency: str = "USD") -> Product:
    return Product(
        "p", "P", category_path=category, price=None if price is None else Money(currency, Decimal(str(price)))
    )


SHOP = [product(amount, "Home", "Sofas") for amount in range(300, 1_300, 50)] + [
    product(amount, "Home", "Mugs") for amount in range(4, 24)
]


def dearness(book: PriceBook, entry: Product) -> float:
    features = book.features(entry)
    assert features is not None
    return float(features[0])


def test_relative_to_its_category() -> None:
    """400 is low for a sofa, and 20 is high for a mug."""
    book = PriceBook.of(SHOP)
    assert dearness(book, product(400, "Home", "Sofas")) < 0 < dearness(book, product(20, "Home", "Mugs"))


def test_unknown_category() -> None:
    """A category with few prices uses those of the category above it; an unknown one uses those of the shop."""
    book = PriceBook.of([*SHOP, product(5_000, "Home", "Clocks")])
    assert dearness(book, product(100, "Home", "Clocks")) == dearness(book, product(100, "Home"))
    assert dearness(book, product(100, "Toys")) == dearness(book, product(100))


@pytest.mark.parametrize("entry", [product(None), product(0), product(5, currency="CNY")])
def test_missing(entry: Product) -> None:
    """A product without a price, with a price of 0 or in an unknown currency has no features."""
    assert PriceBook.of(SHOP).features(entry) is None


def test_one_price_and_far_prices() -> None:
    """Features are within their bounds for any price."""
    for book in (PriceBook.of(SHOP), PriceBook.of([product(7, "A")])):
        for amount in (0.01, 1e12):
            features = book.features(product(amount, "A"))
            assert features is not None
            assert np.abs(features).max() <= 3


def test_as_json() -> None:
    """Levels that were read from JSON give the same features."""
    book = PriceBook.of(SHOP)
    again = PriceBook(json.loads(json.dumps(book.levels)))
    np.testing.assert_array_equal(again.features(SHOP[3]), book.features(SHOP[3]))
