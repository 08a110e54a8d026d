"""Groups of variants, and the order of changes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.retrieval.catalogue.catalogues import Catalogue, catalogues, few


@few
@given(catalogues())
def test_variants_of_groups(catalogue: Catalogue) -> None:
    """A group has the living products that name it, by key; an unknown group has none."""
    view = catalogue.view
    names = [*{product.group for product, _ in catalogue.products.values()}, "unknown"]
    for name, rows in zip(names, view.variants_of(names), strict=True):
        expected = sorted(key for key in catalogue.products if catalogue.group(key) == name)
        assert view.keys[rows].tolist() == expected
        assert view.variant_counts(rows).tolist() == [len(expected)] * len(expected)


@few
@given(catalogues(), st.integers(1, 5), st.data())
def test_a_walk_by_changes_reaches_all_that_changed(catalogue: Catalogue, limit: int, data: st.DataObject) -> None:
    """Pages by change hold every product once; after the last page they hold those that changed again."""
    view = catalogue.view

    def after(number: int) -> tuple[list[int], int]:
        keys: list[int] = []
        while page := view.changed_after(number, limit):
            assert len(page) <= limit
            keys += [int(view.keys[row]) for _, row in page]
            number = page[-1][0]
        return keys, number

    keys, number = after(0)
    assert sorted(keys) == sorted(catalogue.products)
    assert number <= view.last_change
    if keys:
        touched = data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=3, unique=True))
        catalogue.table.touch(view.rows_of(np.array(touched, np.uint64)))
        assert after(number)[0] == touched
