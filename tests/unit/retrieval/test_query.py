"""The bounds of a retrieval query, as in retrieval.proto; all wrong fields are named at once."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.common.filters import AttributeFilter, PriceRange, ProductFilter, filter_violations
from services.common.money import Money
from services.retrieval.domain.query import MatchGroup, ProductName, RetrievalQuery, SpellingAlternative, check_ids

TWO = np.ones((2, 3), np.float32)
WORD = MatchGroup(("shoes",))
SPELLING = SpellingAlternative("shose", "shoes")


def usd(amount: int, currency: str = "USD") -> Money:
    return Money(currency, Decimal(amount))


def wrong(query: RetrievalQuery) -> list[str]:
    try:
        query.check()
    except InvalidArgument as error:
        return [violation.field for violation in error.violations]
    return []


def wrong_in(narrowing: ProductFilter) -> list[str]:
    return [violation.field for violation in filter_violations(narrowing, "filter")]


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        ({"text": "x" * 512}, {"text": "x" * 513}, "text"),
        ({"limit": 1}, {"limit": 0}, "limit"),
        ({"limit": 1_000}, {"limit": 1_001}, "limit"),
        ({"excluded_ids": ("x",) * 1_000}, {"excluded_ids": ("x",) * 1_001}, "excluded_ids"),
        ({"facets": ("brand",) * 8}, {"facets": ("brand",) * 9}, "facets"),
        ({"facets": ("category", "price")}, {"facets": ("category", "stock")}, "facets[1]"),
        ({"best_facet_count": 8}, {"best_facet_count": 9}, "best_facet_count"),
        ({"excluded_words": ("x",) * 8}, {"excluded_words": ("x",) * 9}, "excluded_words"),
        ({"excluded_words": ("x" * 128,)}, {"excluded_words": ("x" * 129,)}, "excluded_words[0]"),
        ({"phrases": ("x",) * 4}, {"phrases": ("x",) * 5}, "phrases"),
        (
            {"spelling_alternatives": (SPELLING,) * 8},
            {"spelling_alternatives": (SPELLING,) * 9},
            "spelling_alternatives",
        ),
        ({}, {"spelling_alternatives": (SpellingAlternative("shose", "x" * 129),)}, "spelling_alternatives[0].meant"),
        ({"match_groups": (WORD,) * 32}, {"match_groups": (WORD,) * 33}, "match_groups"),
        (
            {"match_groups": (MatchGroup(("x" * 128,)),)},
            {"match_groups": (MatchGroup(("x" * 129,)),)},
            "match_groups[0].alternatives[0]",
        ),
        ({}, {"match_groups": (MatchGroup(()),)}, "match_groups[0].alternatives"),
        ({"identifier_text": "x" * 512}, {"identifier_text": "x" * 513}, "identifier_text"),
        ({"facets": ("attributes.colour",)}, {"facets": ("attributes.",)}, "facets[0]"),
        (
            {"accessories_for": (ProductName("x" * 512, "x" * 256),) * 5},
            {"accessories_for": (ProductName("x"),) * 6},
            "accessories_for",
        ),
        ({}, {"accessories_for": (ProductName("x"), ProductName("x" * 513))}, "accessories_for[1].title"),
        ({}, {"accessories_for": (ProductName("x", "x" * 257),)}, "accessories_for[0].brand"),
        ({"vectors": np.ones((16, 3))}, {"vectors": np.ones((17, 3))}, "query_vectors.values.shape"),
        ({"vectors": TWO, "weights": (1.0, 2.0)}, {"vectors": TWO, "weights": (1.0,)}, "query_vector_weights"),
        ({"vectors": TWO}, {"weights": (1.0,)}, "query_vector_weights"),
        ({"vectors": TWO}, {"vectors": TWO, "weights": (1.0, 0.0)}, "query_vector_weights"),
        ({"vectors": TWO}, {"vectors": TWO, "weights": (1.0, float("nan"))}, "query_vector_weights"),
        ({}, {"vectors": TWO, "weights": (1.0, float("inf"))}, "query_vector_weights"),
    ],
)
def test_each_bound(good: dict[str, object], bad: dict[str, object], field: str) -> None:
    """At its bound a field is good; beyond it the field is named."""
    assert wrong(RetrievalQuery(**good)) == []  # type: ignore[arg-type]
    assert wrong(RetrievalQuery(**bad)) == [field]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("good", "bad", "field"),
    [
        ({"categories": ("x",) * 64}, {"categories": ("x",) * 65}, "filter.categories"),
        ({"brands": ("x",) * 64}, {"brands": ("x",) * 65}, "filter.brands"),
        ({"product_types": ("x",) * 64}, {"product_types": ("x",) * 65}, "filter.product_types"),
        (
            {"attributes": (AttributeFilter("a", ("x",)),) * 16},
            {"attributes": (AttributeFilter("a", ("x",)),) * 17},
            "filter.attributes",
        ),
        (
            {"attributes": (AttributeFilter("a", ("x",) * 64),)},
            {"attributes": (AttributeFilter("a", ("x",) * 65),)},
            "filter.attributes[0].values",
        ),
        ({"categories": ("x" * 1_045,)}, {"categories": ("x" * 1_046,)}, "filter.categories[0]"),
        ({"product_types": ("x", "x" * 64)}, {"product_types": ("x", "x" * 65)}, "filter.product_types[1]"),
        ({"compatible_with": ("x",) * 64}, {"compatible_with": ("x",) * 65}, "filter.compatible_with"),
        ({"compatible_with": ("x", "x" * 64)}, {"compatible_with": ("x", "x" * 65)}, "filter.compatible_with[1]"),
        ({"brands": ("x", "x" * 256)}, {"brands": ("x", "x" * 257)}, "filter.brands[1]"),
        (
            {"attributes": (AttributeFilter("a" * 64, ("x" * 128,)),)},
            {"attributes": (AttributeFilter("a", ("x", "x" * 129)),)},
            "filter.attributes[0].values[1]",
        ),
        ({}, {"attributes": (AttributeFilter("a" * 65, ("x",)),)}, "filter.attributes[0].name"),
        ({"brands": ("x" * 256,) * 64}, {"brands": ("x" * 256,) * 64, "categories": ("x",)}, "filter"),
        ({}, {"attributes": (AttributeFilter("a", ()),)}, "filter.attributes[0].values"),
        ({}, {"attributes": (AttributeFilter("", ("x",)),)}, "filter.attributes[0].name"),
        (
            {"attributes": (AttributeFilter("a", minimum=1, maximum=1),)},
            {"attributes": (AttributeFilter("a", minimum=2, maximum=1),)},
            "filter.attributes[0].minimum",
        ),
        (
            {"attributes": (AttributeFilter("a", maximum=-1),)},
            {"attributes": (AttributeFilter("a", maximum=float("nan")),)},
            "filter.attributes[0].maximum",
        ),
        (
            {"attributes": (AttributeFilter("a", minimum=0),)},
            {"attributes": (AttributeFilter("a", ("x",), minimum=0),)},
            "filter.attributes[0].values",
        ),
        ({"price": PriceRange(usd(1))}, {"price": PriceRange()}, "filter.price"),
        ({"price": PriceRange(usd(0))}, {"price": PriceRange(usd(-1))}, "filter.price.minimum"),
        ({"price": PriceRange(None, usd(0))}, {"price": PriceRange(None, usd(-1))}, "filter.price.maximum"),
        ({"price": PriceRange(usd(2), usd(2))}, {"price": PriceRange(usd(3), usd(2))}, "filter.price.minimum"),
        (
            {"price": PriceRange(usd(1), usd(2))},
            {"price": PriceRange(usd(1), usd(2, "EUR"))},
            "filter.price.maximum.currency_code",
        ),
    ],
)
def test_each_bound_of_a_filter(good: dict[str, object], bad: dict[str, object], field: str) -> None:
    """At its bound a condition is good; beyond it the condition is named below its filter."""
    assert wrong_in(ProductFilter(**good)) == []  # type: ignore[arg-type]
    assert wrong_in(ProductFilter(**bad)) == [field]  # type: ignore[arg-type]


def test_all_that_is_wrong() -> None:
    """All wrong fields are named at once, those of the soft filter included."""
    narrow = ProductFilter(price=PriceRange())
    query = RetrievalQuery(text="x" * 513, limit=-1, filter=narrow, soft_filter=narrow)
    assert wrong(query) == ["text", "limit", "filter.price", "soft_filter.price"]


@given(st.none() | st.integers(0, 9), st.none() | st.integers(0, 9))
def test_a_range_has_a_currency(low: int | None, high: int | None) -> None:
    """A range of prices has the currency of the end that is set."""
    ends = PriceRange(None if low is None else usd(low), None if high is None else usd(high))
    assert ends.currency == ("" if low is None is high else "USD")


def test_empty_means_everything() -> None:
    """A filter without a condition is empty; with any one it is not."""
    assert ProductFilter().is_empty
    for condition in (
        {"brands": ("B",)},
        {"in_stock_only": True},
        {"product_types": ("x",)},
        {"price": PriceRange(usd(0))},
    ):
        assert not ProductFilter(**condition).is_empty


def test_browsing_looks_for_nothing() -> None:
    """Without words and vectors a query browses the catalogue; blanks are no words."""
    assert RetrievalQuery(text=" \t").is_browse
    assert not RetrievalQuery(text="x").is_browse
    assert not RetrievalQuery(vectors=TWO).is_browse


@pytest.mark.parametrize("count", [0, 1_001])
def test_how_many_ids(count: int) -> None:
    """No id at all, or more than 1,000, is refused."""
    check_ids(["x"] * 1_000)
    with pytest.raises(InvalidArgument, match=r"^ids: has"):
        check_ids(["x"] * count)
