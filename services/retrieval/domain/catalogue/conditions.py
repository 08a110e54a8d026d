"""Which rows meet a filter. The conditions are kept apart, so that a facet can leave its own one out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.common.facets import ATTRIBUTE_FACET, BRAND_FACET, CATEGORY_FACET, PRICE_FACET, TYPE_FACET
from services.common.filters import AttributeFilter, PriceRange, ProductFilter
from services.retrieval.domain.catalogue.effective import CURRENCY_NUMBERS, EffectiveOffers
from services.retrieval.domain.catalogue.growing import BoolArray, RowArray
from services.retrieval.domain.catalogue.table import Table

# No facet has these.
_STOCK, _COMPATIBLE, _EXCLUDED = "in_stock", "compatible_with", "excluded"


@dataclass(frozen=True)
class Conditions:
    """`fields`: by field of a facet, the rows that meet all conditions on it. `currency`: that of the price filter."""

    alive: BoolArray
    fields: Mapping[str, BoolArray]
    offers: EffectiveOffers
    currency: str = ""

    @property
    def allowed(self) -> BoolArray:
        """The living rows that are not excluded, whatever conditions they meet."""
        return self.alive & self.fields[_EXCLUDED] if _EXCLUDED in self.fields else self.alive

    def mask(self, without: str = "") -> BoolArray:
        """The living rows that meet all conditions, or all but those on one field."""
        mask = self.alive
        for field, meets in self.fields.items():
            if field != without:
                mask = mask & meets
        return mask


def conditions_of(
    table: Table, alive: BoolArray, filters: Sequence[ProductFilter], offers: EffectiveOffers, excluded: RowArray
) -> Conditions:
    """All conditions of all `filters` hold together; `excluded` rows meet none. Of the rows that `offers` has.

    `alive`: the rows that may be seen.
    """
    fields: dict[str, BoolArray] = {}
    for narrowing in filters:
        for field, meets in _conditions(table, narrowing, offers):
            fields[field] = fields[field] & meets if field in fields else meets
    if len(excluded):
        fields[_EXCLUDED] = np.ones(len(offers), np.bool_)
        fields[_EXCLUDED][excluded] = False
    currency = next((narrowing.price.currency for narrowing in filters if narrowing.price), "")
    return Conditions(alive[: len(offers)], fields, offers, currency)


def attribute_field(name: str) -> str:
    """The facet of an attribute, by the comparison form of its name."""
    return ATTRIBUTE_FACET + name


def _conditions(table: Table, narrowing: ProductFilter, offers: EffectiveOffers) -> Iterator[tuple[str, BoolArray]]:
    size = len(offers)
    if narrowing.categories:
        categories = table.categories
        yield CATEGORY_FACET, categories.mask(categories.spellings.with_forms(narrowing.category_forms), size)
    if narrowing.brands:
        brands = table.brands
        yield BRAND_FACET, brands.mask(brands.spellings.with_forms(narrowing.brand_forms), size)
    if narrowing.product_types:
        yield TYPE_FACET, table.types.mask(table.types.spellings.with_forms(narrowing.type_forms), size)
    if narrowing.compatible_with:
        yield _COMPATIBLE, table.made_for.mask(table.made_for.with_words(narrowing.compatible_with), size)
    if narrowing.price is not None:
        yield PRICE_FACET, _priced(narrowing.price, offers)
    for attribute in narrowing.attributes:
        yield attribute_field(attribute.name_form), _with_attribute(table, attribute, size)
    if narrowing.in_stock_only:
        yield _STOCK, offers.in_stock


def _priced(wanted: PriceRange, offers: EffectiveOffers) -> BoolArray:
    """A product without a price is NaN, which is in no range."""
    meets: BoolArray = offers.currencies == CURRENCY_NUMBERS[wanted.currency]
    meets &= ~np.isnan(offers.prices)
    if wanted.minimum is not None:
        meets &= offers.prices >= float(wanted.minimum.amount)
    if wanted.maximum is not None:
        meets &= offers.prices <= float(wanted.maximum.amount)
    return meets


def _with_attribute(table: Table, attribute: AttributeFilter, size: int) -> BoolArray:
    column = table.attributes.get(attribute.name_form)
    if column is None:
        return np.zeros(size, np.bool_)
    if attribute.is_range:
        selected = np.array(~np.isnan(column.numbers))
        if attribute.minimum is not None:
            selected &= column.numbers >= attribute.minimum
        if attribute.maximum is not None:
            selected &= column.numbers <= attribute.maximum
    else:
        selected = column.spellings.with_forms(attribute.value_forms)
    return column.mask(selected, size)
