"""Candidates keep their rows together: taken, sorted, scored."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.common.filters import SortOrder
from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.legs import ScoredKeys
from tests.unit.retrieval.products import candidates

some_prices = st.lists(st.just(math.nan) | st.sampled_from([0.0, 1.5, 9.99, 100.0]), max_size=12)
some_dates = st.lists(st.sampled_from([0, 1, 1_700_000_000, 1_800_000_000]), max_size=12)


def priced(prices: list[float]) -> Candidates:
    return candidates([f"p{n}" for n in range(len(prices))], prices=np.array(prices, np.float64))


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
    whole = candidates(["a", "b", "c"], vectors=np.eye(3, dtype=np.int8))
    some = whole.take([2, 0])
    assert some.ids == ["c", "a"]
    assert some.vectors is not None
    assert some.vectors.argmax(axis=1).tolist() == [2, 0]
    assert some.fingerprints == []
    assert len(some) == 2


def test_nothing_found() -> None:
    """An empty set of candidates can be sorted and scored."""
    none = Candidates.none()
    assert len(none.sorted_by(SortOrder.PRICE_ASCENDING)) == 0
    assert len(none.scored(ScoredKeys.none(), with_image=True)) == 0


@given(st.permutations(range(6)), st.integers(0, 6))
def test_scores_find_their_rows(keys: list[int], count: int) -> None:
    """Scores are joined to rows by key, in the order of the scores; a product that is gone is left out."""
    rows = candidates([f"p{key}" for key in range(5)], keys=np.arange(5, dtype=np.uint64))
    wanted = keys[:count]
    scores = np.array(wanted, np.float32)
    scored = ScoredKeys(np.array(wanted, np.uint64), scores, scores + 10, scores + 20, scores + 30, count)
    found = rows.scored(scored, with_image=True)
    assert found.ids == [f"p{key}" for key in wanted if key < 5]
    assert found.scores.tolist() == [key for key in wanted if key < 5]
    assert found.image_scores is not None
    columns = (found.dense_scores - 10, found.lexical_scores - 20, found.image_scores - 30)
    assert all(column.tolist() == found.scores.tolist() for column in columns)
    assert rows.scored(scored, with_image=False).image_scores is None
