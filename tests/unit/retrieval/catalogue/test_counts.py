"""Counts of the columns are those of a brute force over the products, whatever was written, removed and compacted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.comparison import category_form_of, comparison_form
from services.common.facets import ATTRIBUTE_FACET
from services.common.filters import AttributeFilter, ProductFilter, matches
from services.common.product import Product, category_ancestry
from services.common.product_type import product_type
from services.retrieval.domain.catalogue.matching import Group, MatchLevel
from services.retrieval.domain.facets import CountAccuracy
from tests.unit.retrieval.catalogue.catalogues import (
    FIELDS,
    Catalogue,
    catalogues,
    few,
    filters,
    groups,
    many,
    matching,
    unit_count,
)

keys = st.sets(st.integers(0, 45), max_size=12)


def key_array(numbers: Iterable[int]) -> npt.NDArray[np.uint64]:
    return np.array(sorted(numbers), np.uint64)


def choosing(narrowing: ProductFilter, field: str, value: str) -> ProductFilter:
    """The filter with this value in place of its own condition on the field."""
    if field == "category":
        return replace(narrowing, categories=(value,))
    if field == "brand":
        return replace(narrowing, brands=(value,))
    if field == "product_type":
        return replace(narrowing, product_types=(value,))
    return with_attribute(narrowing, AttributeFilter(field.removeprefix(ATTRIBUTE_FACET), (value,)))


def with_attribute(narrowing: ProductFilter, chosen: AttributeFilter) -> ProductFilter:
    others = [each for each in narrowing.attributes if each.name_form != chosen.name_form]
    return replace(narrowing, attributes=(*others, chosen))


def values_of(product: Product, field: str) -> Sequence[str]:
    if field == "category":
        return category_ancestry(product.category_path)
    if field == "brand":
        return [product.brand] if product.brand else []
    if field == "product_type":
        return list(filter(None, [product_type(product)]))
    return product.attributes.get(field.removeprefix(ATTRIBUTE_FACET).lower(), ())


@few
@given(catalogues(), filters)
def test_the_mask_is_what_the_evaluator_accepts(catalogue: Catalogue, narrowing: ProductFilter) -> None:
    """A row meets the conditions if and only if it lives and `matches` accepts its product."""
    view = catalogue.view
    mask = view.conditions([narrowing], view.base_offers()).mask()
    accepted = {key for key, (product, _) in catalogue.products.items() if matches(product, narrowing)}
    assert catalogue.keys(mask) == accepted


@few
@given(catalogues(), filters, filters, keys)
def test_filters_hold_together(
    catalogue: Catalogue, narrowing: ProductFilter, other: ProductFilter, excluded: set[int]
) -> None:
    """Several filters hold together, and excluded products match none."""
    view = catalogue.view
    mask = view.conditions([narrowing, other], view.base_offers(), key_array(excluded)).mask()
    accepted = {
        key
        for key, (product, _) in catalogue.products.items()
        if matches(product, narrowing) and matches(product, other)
    }
    assert catalogue.keys(mask) == accepted - excluded


@few
@given(catalogues(), groups, filters, keys, st.booleans())
def test_matches_and_totals(
    catalogue: Catalogue, query: list[Group], narrowing: ProductFilter, candidates: set[int], collapse: bool
) -> None:
    """The level is decided without the filter, then falls as long as the filter leaves nothing; totals count units."""
    view = catalogue.view
    conditions = view.conditions([narrowing], view.base_offers())
    found = view.matches(query, conditions, candidates=key_array(candidates))
    level, expected = matching(catalogue, query, narrowing, candidates)
    assert (found.level, catalogue.keys(found.mask)) == (level, expected)
    assert view.total(found, collapse=collapse) == unit_count(catalogue, expected, collapse=collapse)
    assert (found.accuracy is CountAccuracy.LOWER_BOUND) == (level is MatchLevel.CANDIDATES)


@many
@given(catalogues(), groups, filters, st.booleans())
def test_a_count_is_the_total_after_choosing(
    catalogue: Catalogue, query: list[Group], narrowing: ProductFilter, collapse: bool
) -> None:
    """Every value of a field is listed with the total of the filter that has it in place of its own condition."""
    view = catalogue.view
    found = view.matches(query, view.conditions([narrowing], view.base_offers()))
    for facet in view.facets(found, FIELDS, collapse=collapse):
        if facet.field == "price":
            continue
        form = category_form_of if facet.field == "category" else comparison_form
        spellings = {value for product, _ in catalogue.products.values() for value in values_of(product, facet.field)}
        expected = {}
        for value in spellings:
            _, chosen = matching(catalogue, query, choosing(narrowing, facet.field, value))
            expected[form(value)] = unit_count(catalogue, chosen, collapse=collapse)
        listed = {form(entry.value): entry.count for entry in facet.counts}
        assert len(listed) == len(facet.counts)
        assert listed == {value: count for value, count in expected.items() if count}


@many
@given(catalogues(), groups, filters, st.booleans())
def test_a_range_counts_the_total_after_choosing(
    catalogue: Catalogue, query: list[Group], narrowing: ProductFilter, collapse: bool
) -> None:
    """Every range is listed with the total of the filter that has it in place of its own condition on the field."""
    view = catalogue.view
    found = view.matches(query, view.conditions([narrowing], view.base_offers()))
    price, size = view.facets(found, ("price", "attributes.size"), collapse=collapse)
    for entry in price.ranges:
        _, chosen = matching(catalogue, query, replace(narrowing, price=entry.price))
        assert entry.count == unit_count(catalogue, chosen, collapse=collapse)
    for entry in size.ranges:
        wanted = AttributeFilter("size", minimum=entry.minimum, maximum=entry.maximum)
        _, chosen = matching(catalogue, query, with_attribute(narrowing, wanted))
        assert entry.count == unit_count(catalogue, chosen, collapse=collapse)


@few
@given(catalogues(), groups, filters)
def test_a_price_is_in_one_range(catalogue: Catalogue, query: list[Group], narrowing: ProductFilter) -> None:
    """Without collapse the price ranges count each match with a price in their currency once."""
    narrowing = replace(narrowing, price=None)
    view = catalogue.view
    found = view.matches(query, view.conditions([narrowing], view.base_offers()))
    (facet,) = view.facets(found, ["price"], collapse=False)
    _, matched = matching(catalogue, query, narrowing)
    assert sum(entry.count for entry in facet.ranges) == round(facet.coverage * len(matched))
    assert len(facet.ranges) <= 8
    if facet.ranges:
        currencies = {entry.price.currency for entry in facet.ranges if entry.price}
        assert len(currencies) == 1
        known = [price for key in matched if (price := catalogue.products[key][0].price)]
        assert sum(price.currency in currencies for price in known) == sum(entry.count for entry in facet.ranges)


@few
@given(catalogues(), st.booleans())
def test_coverage(catalogue: Catalogue, collapse: bool) -> None:
    """The coverage of a field is the share of the matches that have a value of it."""
    view = catalogue.view
    everything = view.everything(view.conditions([], view.base_offers()))
    for facet in view.facets(everything, ("category", "brand", "attributes.colour"), collapse=collapse):
        having = [key for key, (product, _) in catalogue.products.items() if values_of(product, facet.field)]
        whole = unit_count(catalogue, catalogue.products, collapse=collapse)
        assert facet.coverage == pytest.approx(unit_count(catalogue, having, collapse=collapse) / max(whole, 1))
