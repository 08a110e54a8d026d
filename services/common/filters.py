"""Filters and sort orders of products: the domain's form, its bounds, and its one evaluator.

Retrieval translates a filter for its engine (services/retrieval/adapters/points.py); code that has the product itself
calls `matches`. A test compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Protocol

from services.common.comparison import category_form, category_form_of, comparison_form, number_of
from services.common.compatibility import MAX_PHRASE, compatible_with, words_of
from services.common.errors import FieldViolation
from services.common.limits import text_problem
from services.common.money import Money
from services.common.product import (
    MAX_ATTRIBUTE_NAME,
    MAX_ATTRIBUTE_VALUE,
    MAX_BRAND,
    MAX_CATEGORY_PATH,
    Product,
)
from services.common.product_type import MAX_TYPE, product_type

MAX_CATEGORIES = 64
MAX_BRANDS = 64
MAX_TYPES = 64
MAX_COMPATIBLE = 64
MAX_ATTRIBUTES = 16
MAX_ATTRIBUTE_VALUES = 64
# Of all entries together.
MAX_FILTER_CHARACTERS = 16_384


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
    """Any of these values; or, without values, a number in the closed range."""

    name: str
    values: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None

    @property
    def is_range(self) -> bool:
        return self.minimum is not None or self.maximum is not None

    @cached_property
    def name_form(self) -> str:
        return comparison_form(self.name)

    @cached_property
    def value_forms(self) -> frozenset[str]:
        return frozenset(map(comparison_form, self.values)) - {""}

    def holds(self, number: float) -> bool:
        """Whether the number is in the range."""
        return (self.minimum is None or number >= self.minimum) and (self.maximum is None or number <= self.maximum)


@dataclass(frozen=True)
class ProductFilter:
    """All conditions hold together; the values within one are alternatives. Empty: everything."""

    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    price: PriceRange | None = None
    attributes: tuple[AttributeFilter, ...] = ()
    in_stock_only: bool = False
    product_types: tuple[str, ...] = ()
    compatible_with: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return self == ProductFilter()

    @cached_property
    def category_forms(self) -> frozenset[tuple[str, ...]]:
        return frozenset(map(category_form_of, self.categories))

    @cached_property
    def brand_forms(self) -> frozenset[str]:
        return frozenset(map(comparison_form, self.brands)) - {""}

    @cached_property
    def compatible_words(self) -> tuple[frozenset[str], ...]:
        return tuple(filter(None, map(frozenset, map(words_of, self.compatible_with))))

    @cached_property
    def type_forms(self) -> frozenset[str]:
        return frozenset(map(comparison_form, self.product_types)) - {""}


class _Attribute(Protocol):
    @property
    def values(self) -> Sized: ...


class _Lists(Protocol):
    """The lists of a filter, as the domain or protobuf has them."""

    @property
    def categories(self) -> Sized: ...
    @property
    def brands(self) -> Sized: ...
    @property
    def product_types(self) -> Sized: ...
    @property
    def compatible_with(self) -> Sized: ...
    @property
    def attributes(self) -> Sequence[_Attribute]: ...


def matches(product: Product, narrowing: ProductFilter) -> bool:
    """Whether the product meets every condition of the filter. One that lacks the field of a condition does not.

    Names and values are compared by `comparison_form`. The filter's sets are made once, with its first product.
    """
    return (
        (not narrowing.categories or is_in_category(product.category_path, narrowing))
        and (not narrowing.brands or has_brand(product.brand, narrowing))
        and (narrowing.price is None or _is_in_range(product.price, narrowing.price))
        and all(_has(product, attribute) for attribute in narrowing.attributes)
        and not (narrowing.in_stock_only and product.stock == 0)
        and (not narrowing.product_types or comparison_form(product_type(product)) in narrowing.type_forms)
        and (not narrowing.compatible_with or _is_for(product, narrowing.compatible_words))
    )


def has_brand(brand: str, narrowing: ProductFilter) -> bool:
    """Whether it is one of the filter's brands."""
    return comparison_form(brand) in narrowing.brand_forms


def is_in_category(path: tuple[str, ...], narrowing: ProductFilter) -> bool:
    """Whether the path is one of the filter's categories, or below one."""
    form = category_form(path)
    return any(form[: depth + 1] in narrowing.category_forms for depth in range(len(form)))


def _has(product: Product, wanted: AttributeFilter) -> bool:
    values = (
        value
        for name, named in product.attributes.items()
        if comparison_form(name) == wanted.name_form
        for value in named
    )
    if wanted.is_range:
        return any(number is not None and wanted.holds(number) for number in map(number_of, values))
    return any(comparison_form(value) in wanted.value_forms for value in values)


def _is_for(product: Product, wanted: Sequence[frozenset[str]]) -> bool:
    phrases = [set(phrase.split()) for phrase in compatible_with(product)]
    return any(words <= phrase for words in wanted for phrase in phrases)


def _is_in_range(price: Money | None, wanted: PriceRange) -> bool:
    """A product without a price, or priced in another currency, is in no range."""
    if price is None or price.currency != wanted.currency:
        return False
    return (wanted.minimum is None or price.amount >= wanted.minimum.amount) and (
        wanted.maximum is None or price.amount <= wanted.maximum.amount
    )


def too_many_entries(lists: _Lists, field: str) -> Iterator[FieldViolation]:
    """The lists of a filter that are too long, by field path below `field`. Reads no entry of them."""
    for name, entries, limit in (
        ("categories", lists.categories, MAX_CATEGORIES),
        ("brands", lists.brands, MAX_BRANDS),
        ("product_types", lists.product_types, MAX_TYPES),
        ("compatible_with", lists.compatible_with, MAX_COMPATIBLE),
        ("attributes", lists.attributes, MAX_ATTRIBUTES),
    ):
        if len(entries) > limit:
            yield FieldViolation(f"{field}.{name}", f"has {len(entries)} entries; at most {limit}")
    for index, attribute in enumerate(lists.attributes[:MAX_ATTRIBUTES]):
        if len(attribute.values) > MAX_ATTRIBUTE_VALUES:
            yield FieldViolation(
                f"{field}.attributes[{index}].values",
                f"has {len(attribute.values)} values; at most {MAX_ATTRIBUTE_VALUES}",
            )


def filter_violations(narrowing: ProductFilter, field: str) -> Iterator[FieldViolation]:
    """What is wrong with a filter, by field path below `field`."""
    too_many = list(too_many_entries(narrowing, field))
    yield from too_many
    if not too_many:
        yield from _text_violations(narrowing, field)
        for index, attribute in enumerate(narrowing.attributes):
            yield from _value_violations(attribute, f"{field}.attributes[{index}]")
    if narrowing.price is not None:
        yield from _price_violations(narrowing.price, f"{field}.price")


def _text_violations(narrowing: ProductFilter, field: str) -> Iterator[FieldViolation]:
    texts = [
        *((f"categories[{index}]", text, MAX_CATEGORY_PATH) for index, text in enumerate(narrowing.categories)),
        *((f"brands[{index}]", text, MAX_BRAND) for index, text in enumerate(narrowing.brands)),
        *((f"product_types[{index}]", text, MAX_TYPE) for index, text in enumerate(narrowing.product_types)),
        *((f"compatible_with[{index}]", text, MAX_PHRASE) for index, text in enumerate(narrowing.compatible_with)),
    ]
    for index, attribute in enumerate(narrowing.attributes):
        path = f"attributes[{index}]"
        if not attribute.name.strip():
            yield FieldViolation(f"{field}.{path}.name", "is empty; name the attribute")
        texts.append((f"{path}.name", attribute.name, MAX_ATTRIBUTE_NAME))
        texts += [(f"{path}.values[{at}]", text, MAX_ATTRIBUTE_VALUE) for at, text in enumerate(attribute.values)]
    for path, text, limit in texts:
        if problem := text_problem(text, limit):
            yield FieldViolation(f"{field}.{path}", problem)
    total = sum(len(text) for _, text, _ in texts)
    if total > MAX_FILTER_CHARACTERS:
        yield FieldViolation(
            field, f"has {total} characters in all its entries; send at most {MAX_FILTER_CHARACTERS}, or several calls"
        )


def _value_violations(attribute: AttributeFilter, field: str) -> Iterator[FieldViolation]:
    if not attribute.is_range:
        if not attribute.values:
            yield FieldViolation(f"{field}.values", "is empty; send values, or a minimum or maximum")
        return
    if attribute.values:
        yield FieldViolation(f"{field}.values", "is set together with a range; send one of the two")
    low, high = attribute.minimum, attribute.maximum
    for name, end in (("minimum", low), ("maximum", high)):
        if end is not None and not math.isfinite(end):
            yield FieldViolation(f"{field}.{name}", f"{end} is not finite; leave it out for an open end")
    if low is not None and high is not None and low > high:
        yield FieldViolation(f"{field}.minimum", f"{low:g} is above maximum {high:g}; swap them")


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
