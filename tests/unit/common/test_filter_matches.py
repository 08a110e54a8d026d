"""Whether a product meets a filter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from services.common.filters import AttributeFilter, PriceRange, ProductFilter, matches
from services.common.money import Money
from services.common.product import Product

SHOE = Product(
    id="s1", title="Nike - Pegasus Shoes", brand="Nike", category_path=("Shoes", "Running"),
    attributes={"colour": ("red", "Off  White"), "weight": ("280", "300 g")}, price=Money("USD", Decimal("99.99")),
)  # fmt: skip


def priced(minimum: str = "", maximum: str = "", currency: str = "USD") -> PriceRange:
    ends = [Money(currency, Decimal(amount)) if amount else None for amount in (minimum, maximum)]
    return PriceRange(*ends)


@pytest.mark.parametrize(
    ("narrowing", "expected"),
    [
        (ProductFilter(), True),
        (ProductFilter(categories=("Shoes",)), True),
        (ProductFilter(categories=("Shoes > Running",)), True),
        (ProductFilter(categories=("Bags", "Shoes > Running")), True),
        (ProductFilter(categories=("Shoes > Run",)), False),
        (ProductFilter(categories=("Running",)), False),
        (ProductFilter(categories=(" SHOES>running ",)), True),
        (ProductFilter(brands=("nIKE",)), True),
        (ProductFilter(brands=("Adidas",)), False),
        (ProductFilter(product_types=("bag", "Shoe ")), True),
        (ProductFilter(product_types=("pegasus",)), False),
        (ProductFilter(price=priced(minimum="99.99")), True),
        (ProductFilter(price=priced(maximum="99.99")), True),
        (ProductFilter(price=priced(minimum="100")), False),
        (ProductFilter(price=priced(maximum="99.98")), False),
        (ProductFilter(price=priced(maximum="500", currency="EUR")), False),
        (ProductFilter(attributes=(AttributeFilter("colour", ("red",)),)), True),
        (ProductFilter(attributes=(AttributeFilter("colour", ("blue",)),)), False),
        (ProductFilter(attributes=(AttributeFilter("size", ("red",)),)), False),
        (ProductFilter(attributes=(AttributeFilter(" Colour", ("off white ",)),)), True),
        (ProductFilter(attributes=(AttributeFilter("weight", minimum=280),)), True),
        (ProductFilter(attributes=(AttributeFilter("weight", minimum=200, maximum=280),)), True),
        (ProductFilter(attributes=(AttributeFilter("weight", minimum=281),)), False),
        (ProductFilter(attributes=(AttributeFilter("colour", maximum=1e9),)), False),
        (ProductFilter(brands=("Nike",), categories=("Bags",)), False),
    ],
    ids=str,
)
def test_conditions(narrowing: ProductFilter, expected: bool) -> None:
    """All conditions hold together, the values within one are alternatives, a category matches from the top."""
    assert matches(SHOE, narrowing) is expected


def test_unknown_is_not_zero() -> None:
    """A product without a price is in no price range; stock that is not tracked counts as in stock, zero does not."""
    assert not matches(replace(SHOE, price=None), ProductFilter(price=priced(minimum="0")))
    in_stock = ProductFilter(in_stock_only=True)
    assert [matches(replace(SHOE, stock=stock), in_stock) for stock in (None, 3, 0)] == [True, True, False]


class Counted(tuple[str, ...]):
    """Counts how often its entries are read."""

    read = 0

    def __iter__(self) -> Iterator[str]:
        Counted.read += 1
        return super().__iter__()


def test_a_filter_is_prepared_once() -> None:
    """However many products are compared, the entries of the filter are read once."""
    narrowing = ProductFilter(brands=Counted(f"Brand {number}" for number in range(64)))
    assert sum(matches(replace(SHOE, brand=f"BRAND {number % 128}"), narrowing) for number in range(1_000)) == 512
    assert Counted.read == 1
