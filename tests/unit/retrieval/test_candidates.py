"""Candidates keep their rows together: taken, sorted, counted."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.common.filters import SortOrder
from services.retrieval.domain.candidates import (
    MAX_FACET_COUNTS,
    Candidates,
    Facet,
    facet_of_candidates,
    merged_brands,
)
from tests.unit.retrieval.products import candidates

some_prices = st.lists(st.just(math.nan) | st.sampled_from([0.0, 1.5, 9.99, 100.0]), max_size=12)
some_dates = st.lists(st.sampled_from([0, 1, 1_700_000_000, 1_800_000_000]), max_size=12)


def priced(prices: list[float]) -> Candidates:
    return candidates([f"p{n}" for n in range(len(prices))], prices=np.array(prices, np.float64))


def counts(facet: Facet) -> dict[str, int]:
    return {entry.value: entry.count for entry in facet.counts}


@given(some_prices)
def test_by_price(prices: list[float]) -> None:
    """Sorted up or down, prices are in order, equal ones keep theirs, and unknown ones come last both times."""
    known = [price for price in prices if not math.isnan(price)]
    for order, reverse in ((SortOrder.PRICE_ASCENDING, False), (SortOrder.PRICE_DESCENDING, True)):
        found = priced(prices).sorted_by(order)
        assert found.prices[: len(known)].tolist() == sorted(known, reverse=reverse)
        assert np.isnan(found.prices[len(known) :]).all()
        for price in {*known}:
            ids = [int(id[1:]) for id, other in zip(found.ids, found.prices, strict=True) if other == price]
            assert ids == sorted(ids)


@given(some_dates)
def test_newest_first(dates: list[int]) -> None:
    """The newest come first, those without a date last, equal ones in the order they had."""
    ids = [f"p{n}" for n in range(len(dates))]
    found = candidates(ids, created_at_seconds=np.array(dates, np.int64)).sorted_by(SortOrder.NEWEST)
    assert found.ids == sorted(ids, key=lambda id: -dates[int(id[1:])])


@given(some_prices, st.sampled_from(SortOrder))
def test_rows_stay_together(prices: list[float], order: SortOrder) -> None:
    """Sorting moves whole rows: each id keeps its price, its score and its product."""
    before = priced(prices)
    after = before.sorted_by(order)
    rows = [
        Counter(zip(c.ids, map(str, c.prices), c.scores.tolist(), c.products, strict=True)) for c in (before, after)
    ]
    assert rows[0] == rows[1]


def test_relevance_is_the_order_they_have() -> None:
    """By relevance nothing moves."""
    found = priced([3.0, 1.0, 2.0])
    assert found.sorted_by(SortOrder.RELEVANCE) is found


def test_taking_rows() -> None:
    """Rows are taken in any order, vectors with them; a column that was not asked for stays empty."""
    whole = candidates(["a", "b", "c"], vectors=np.eye(3, dtype=np.float16))
    some = whole.take([2, 0])
    assert some.ids == ["c", "a"]
    assert some.vectors is not None
    assert some.vectors.argmax(axis=1).tolist() == [2, 0]
    assert some.fingerprints == []
    assert len(some) == 2


def test_nothing_found() -> None:
    """No candidates are candidates, too: they can be sorted and counted."""
    none = Candidates.none()
    assert len(none.sorted_by(SortOrder.PRICE_ASCENDING)) == 0
    assert facet_of_candidates(none, "brand").counts == ()


def test_categories_count_for_all_above() -> None:
    """A product counts once for its category and once for each above it; one without a category for none."""
    found = candidates("abcd", categories=["Shoes", "Shoes > Running", "Bags", ""])
    assert counts(facet_of_candidates(found, "category")) == {"Shoes": 2, "Shoes > Running": 1, "Bags": 1}


def test_brands_are_one_in_any_case() -> None:
    """Spellings that differ in case are one brand, under the most frequent spelling."""
    found = candidates("abcdef", brands=["Nike", "NIKE", "Nike", "nike", "Adidas", ""])
    assert counts(facet_of_candidates(found, "brand")) == {"Nike": 4, "Adidas": 1}


def test_a_product_counts_once_for_a_value() -> None:
    """A product counts once for each of its values, also where a value stands twice; other attributes do not count."""
    found = candidates(
        "abc",
        attributes=[
            [("colour", "red"), ("colour", "white"), ("size", "red")],
            [("colour", "red"), ("colour", "red")],
            [],
        ],
    )
    facet = facet_of_candidates(found, "attributes.colour")
    assert (facet.field, counts(facet)) == ("attributes.colour", {"red": 2, "white": 1})


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 5), max_size=150))
def test_most_frequent_first(given_counts: dict[str, int]) -> None:
    """A facet has the most frequent values first, equal ones by name, and no more than a person can read."""
    facet = Facet.of("brand", given_counts.items())
    assert [(entry.value, entry.count) for entry in facet.counts] == sorted(
        given_counts.items(), key=lambda pair: (-pair[1], pair[0])
    )[:MAX_FACET_COUNTS]


@given(st.dictionaries(st.text("aAbBß", max_size=3), st.integers(1, 5)))
def test_merging_loses_no_product(given_counts: dict[str, int]) -> None:
    """Merged brands count as many products as before, and no two differ only in case."""
    merged = merged_brands(given_counts.items())
    assert sum(count for _, count in merged) == sum(given_counts.values())
    assert len({brand.casefold() for brand, _ in merged}) == len(merged)
    assert {brand for brand, _ in merged} <= set(given_counts)
