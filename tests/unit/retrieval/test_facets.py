"""Facets count products by the values of a field."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.facets import MAX_FACET_COUNTS, Facet, facet_of_candidates, merged_brands
from tests.unit.retrieval.products import candidates


def counts(facet: Facet) -> dict[str, int]:
    return {entry.value: entry.count for entry in facet.counts}


def test_nothing_to_count() -> None:
    """A facet of no candidates is empty."""
    assert facet_of_candidates(Candidates.none(), "brand").counts == ()


def test_categories_count_for_all_above() -> None:
    """A product counts once for its category and once for each above it; one without a category for none."""
    found = candidates("abcd", categories=["Shoes", "Shoes > Running", "Bags", ""])
    assert counts(facet_of_candidates(found, "category")) == {"Shoes": 2, "Shoes > Running": 1, "Bags": 1}


def test_brands_are_one_in_any_case() -> None:
    """Spellings that differ in case are one brand, under the most frequent spelling."""
    found = candidates("abcdef", brands=["Nike", "NIKE", "Nike", "nike", "Adidas", ""])
    assert counts(facet_of_candidates(found, "brand")) == {"Nike": 4, "Adidas": 1}


def test_a_product_counts_once_for_a_value() -> None:
    """A product counts once for each of its values, even if a value is repeated; other attributes do not count."""
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
    """A facet has the most frequent values first, equal ones by name, and at most MAX_FACET_COUNTS."""
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
