"""Filters and sort orders of products: the domain's form, its bounds, and its one evaluator.

Retrieval translates a filter for its engine (services/retrieval/adapters/points.py); code that has the product itself
calls `matches`. A test compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from services.common.errors import FieldViolation
from services.common.money import Money
from services.common.product import Product, category_ancestry

MAX_CATEGORIES = 64
MAX_BRANDS = 64
MAX_ATTRIBUTES = 16
MAX_ATTRIBUTE_VALUES = 64


class SortOrder(Enum):
    """Products without a price, or without a date, come last."""

    RELEVANCE = "relevance"
    PRICE_ASCENDING = "price_ascending"
    PRICE_DESCENDING = "price_descending"
    NEWEST = "newest"


@dataclass(frozen=True)
class PriceRange:
    """A closed range; at least one end is set, both in one currency."""

    minimum: Money | None = None
    maximum: Money | None = None

    @property
    def currency(self) -> str:
        end = self.minimum or self.maximum
        return end.currency if end else ""


@dataclass(frozen=True)
class AttributeFilter:
    """Any of these values."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class ProductFilter:
    """All conditions hold together; the values within one are alternatives. Empty: everything."""

    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    price: PriceRange | None = None
    attributes: tuple[AttributeFilter, ...] = ()
    in_stock_only: bool = False

    @property
    def is_empty(self) -> bool:
        return self == ProductFilter()

    @property
    def is_only_price(self) -> bool:
        return self == ProductFilter(price=self.price)


def matches(product: Product, narrowing: ProductFilter) -> bool:
    """Whether the product meets every condition of the filter. One that lacks the field of a condition does not."""
    return (
        (not narrowing.categories or not set(narrowing.categories).isdisjoint(category_ancestry(product.category_path)))
        and (not narrowing.brands or _has_a_brand_of(product, narrowing))
        and (narrowing.price is None or _is_in_range(product.price, narrowing.price))
        and all(
            not set(attribute.values).isdisjoint(product.attributes.get(attribute.name, ()))
            for attribute in narrowing.attributes
        )
        and not (narrowing.in_stock_only and product.stock == 0)
    )


def _has_a_brand_of(product: Product, narrowing: ProductFilter) -> bool:
    return bool(product.brand) and product.brand.casefold() in {brand.casefold() for brand in narrowing.brands}


def _is_in_range(price: Money | None, wanted: PriceRange) -> bool:
    """A product without a price, or priced in another currency, is in no range."""
    if price is None or price.currency != wanted.currency:
        return False
    return (wanted.minimum is None or price.amount >= wanted.minimum.amount) and (
        wanted.maximum is None or price.amount <= wanted.maximum.amount
    )


def filter_violations(narrowing: ProductFilter, field: str) -> Iterator[FieldViolation]:
    """What is wrong with a filter, by field path below `field`."""
    for name, entries, limit in (
        ("categories", narrowing.categories, MAX_CATEGORIES),
        ("brands", narrowing.brands, MAX_BRANDS),
        ("attributes", narrowing.attributes, MAX_ATTRIBUTES),
    ):
        if len(entries) > limit:
            yield FieldViolation(f"{field}.{name}", f"has {len(entries)} entries; at most {limit}")
    for index, attribute in enumerate(narrowing.attributes):
        if not attribute.name:
            yield FieldViolation(f"{field}.attributes[{index}].name", "is empty; name the attribute")
        if not 1 <= len(attribute.values) <= MAX_ATTRIBUTE_VALUES:
            yield FieldViolation(
                f"{field}.attributes[{index}].values",
                f"has {len(attribute.values)} values; 1 to {MAX_ATTRIBUTE_VALUES}",
            )
    if narrowing.price is not None:
        yield from _price_violations(narrowing.price, f"{field}.price")


def _price_violations(price: PriceRange, field: str) -> Iterator[FieldViolation]:
    if price.minimum is None and price.maximum is None:
        yield FieldViolation(field, "has neither minimum nor maximum; set at least one")
    for name, end in (("minimum", price.minimum), ("maximum", price.maximum)):
        if end is not None and end.amount < 0:
            yield FieldViolation(f"{field}.{name}", f"{end.amount} is negative; a price never is")
    if price.minimum is not None and price.maximum is not None:
        if price.minimum.currency != price.maximum.currency:
            yield FieldViolation(
                f"{field}.maximum.currency_code",
                f"is {price.maximum.currency} but minimum is in {price.minimum.currency}; use one",
            )
        elif price.minimum.amount > price.maximum.amount:
            yield FieldViolation(
                f"{field}.minimum", f"{price.minimum.amount} is above maximum {price.maximum.amount}; swap them"
            )
