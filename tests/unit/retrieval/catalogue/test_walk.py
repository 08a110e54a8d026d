"""Pages of all matches in a total order."""

from __future__ import annotations

import math
from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from services.common.filters import ProductFilter, SortOrder, matches
from services.common.product import Product
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.cursor import Cursor, Position
from tests.unit.retrieval.catalogue.catalogues import Catalogue, catalogues, few, filters

sorts = st.sampled_from(SortOrder)


def order(product: Product, key: int, sort: SortOrder) -> tuple[float, int]:
    """The place of a product in the total order."""
    if sort is SortOrder.NEWEST and product.created_at is not None:
        return -product.created_at.timestamp(), key
    if sort in (SortOrder.PRICE_ASCENDING, SortOrder.PRICE_DESCENDING) and product.price is not None:
        amount = float(product.price.amount)
        return (amount if sort is SortOrder.PRICE_ASCENDING else -amount), key
    return (0.0 if sort is SortOrder.RELEVANCE else math.inf), key


def walk(view: CatalogueView, narrowing: ProductFilter, sort: SortOrder, limit: int, *, collapse: bool) -> list[int]:
    """The keys of all pages; positions go through a token, as between two requests."""
    found = view.everything(view.conditions([narrowing], view.base_offers()))
    keys: list[int] = []
    after: Position | None = None
    while True:
        page = view.page(found, sort, after, limit, collapse=collapse)
        assert len(page.rows) <= limit
        keys += view.keys[page.rows].tolist()
        if page.next is None:
            return keys
        assert len(page.rows) == limit
        after = Cursor.from_token(Cursor(sort, page.next).to_token()).position


@few
@given(catalogues(), filters, sorts, st.integers(1, 7))
def test_a_walk_reaches_every_match_once(
    catalogue: Catalogue, narrowing: ProductFilter, sort: SortOrder, limit: int
) -> None:
    """The pages together are the matches in order: by value, those without it last, equal ones by key."""
    matched = {key: product for key, (product, _) in catalogue.products.items() if matches(product, narrowing)}
    expected = sorted(matched, key=lambda key: order(matched[key], key, sort))
    assert walk(catalogue.view, narrowing, sort, limit, collapse=False) == expected


@few
@given(catalogues(), filters, sorts, st.integers(1, 7))
def test_a_collapsed_walk_reaches_every_group_once(
    catalogue: Catalogue, narrowing: ProductFilter, sort: SortOrder, limit: int
) -> None:
    """With collapse a group comes once, as its first matching variant in the order, those in stock first."""
    matched = {key: product for key, (product, _) in catalogue.products.items() if matches(product, narrowing)}
    groups: dict[str, list[int]] = defaultdict(list)
    for key, product in matched.items():
        groups[product.group].append(key)
    shown = {
        min(keys, key=lambda key: (matched[key].stock == 0, order(matched[key], key, sort))) for keys in groups.values()
    }
    expected = sorted(shown, key=lambda key: order(matched[key], key, sort))
    assert walk(catalogue.view, narrowing, sort, limit, collapse=True) == expected


@few
@given(catalogues(), st.integers(1, 5), sorts)
def test_changes_between_pages_shift_nothing(catalogue: Catalogue, limit: int, sort: SortOrder) -> None:
    """What is removed after the first page is left out of the second; no other product is lost or repeated."""
    view = catalogue.view
    found = view.everything(view.conditions([], view.base_offers()))
    first = view.page(found, sort, None, limit, collapse=False)
    if first.next is None:
        return
    shown = view.keys[first.rows].tolist()
    catalogue.remove([f"p{key}" for key in shown])
    catalogue.table, _ = catalogue.table.compacted()
    view = catalogue.view
    found = view.everything(view.conditions([], view.base_offers()))
    rest = view.page(found, sort, first.next, 100, collapse=False)
    assert set(view.keys[rest.rows].tolist()) == set(catalogue.products)
