"""Shapley values over six groups: exact, complete, and what a removal from the inputs themselves shows."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ranker.domain.attribution import COALITIONS, DoubleArray, MaskedSum, Scorer, shapley
from services.ranker.domain.baselines import by_popularity
from services.ranker.domain.explanation import explain
from services.ranker.domain.ranking_request import BoolArray
from services.ranker.domain.reasons import GROUPS, ReasonType
from services.ranker.domain.scores import Scores
from services.ranker.domain.slate.slate import make_slate
from services.ranker.domain.weighted_sum import weighted_sum
from tests.unit.ranker.requests import WEIGHTS, drawn, without

RANKER = partial(weighted_sum, weights=WEIGHTS)


def network(seed: int, items: int = 10) -> Scorer:
    """One hidden layer: groups depend on each other, and no part of the score is one group's own."""
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(6, 16)), random.normal(size=(16, items))
    return lambda known: np.tanh(known.astype(np.float64) @ first + 0.3) @ second


def by_all_orders(scorer: Scorer, items: int) -> DoubleArray:
    """[items, 6], by the definition: the mean gain over the 720 orders in which groups can become known."""
    values = np.zeros((items, len(GROUPS)))
    for order in itertools.permutations(range(len(GROUPS))):
        known = np.zeros((len(GROUPS) + 1, len(GROUPS)), bool)
        for step, group in enumerate(order):
            known[step + 1 :, group] = True
        values[:, order] += np.diff(scorer(known), axis=0).T
    return values / 720


def test_exact() -> None:
    """The values are the definition's, for a scorer whose groups depend on each other."""
    scorer = network(1)
    np.testing.assert_allclose(shapley(scorer).contributions, by_all_orders(scorer, 10), atol=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_complete(seed: int) -> None:
    """Contributions add up to the score less the baseline, and those are the scorer's own for all and no groups."""
    scorer = network(seed)
    told = shapley(scorer)
    np.testing.assert_allclose(told.contributions.sum(axis=1), told.scores - told.baseline, atol=1e-9)
    np.testing.assert_allclose(told.scores, scorer(np.ones((1, 6), bool))[0], atol=1e-9)
    np.testing.assert_allclose(told.baseline, scorer(np.zeros((1, 6), bool))[0], atol=1e-9)


def test_one_batch() -> None:
    """All 64 coalitions, each once, go to the scorer in one call."""
    asked: list[BoolArray] = []

    def scorer(known: BoolArray) -> DoubleArray:
        asked.append(known)
        return np.zeros((len(known), 3))

    shapley(scorer)
    assert [len({tuple(row) for row in known.tolist()}) for known in asked] == [64]


def test_a_group_that_changes_nothing() -> None:
    """Its contribution is exactly 0, not almost."""
    scorer = network(2)
    blind = shapley(lambda known: scorer(known & (np.arange(6) != 3)))
    assert (blind.contributions[:, 3] == 0).all()
    assert (blind.contributions[:, 2] != 0).all()


def test_a_scorer_that_is_no_function() -> None:
    """A scorer that says something else each time for a part of the batch cannot be explained: it raises."""
    with pytest.raises(ArithmeticError, match="miss the score"):
        shapley(lambda known: np.where(known.all(axis=1, keepdims=True), np.nan, 1.0))


@pytest.mark.parametrize("seed", range(5))
def test_the_weighted_sum_is_its_own_explanation(seed: int) -> None:
    """For a sum of parts the values are the parts; the price's less the middle one, which is the baseline."""
    request = drawn(seed)
    scores, rows = RANKER(request), [0, 4, 9, 29]
    told = shapley(MaskedSum(request, scores, rows).score)
    for place, group in enumerate(GROUPS):
        part = scores.parts[group][rows] if group in scores.parts else np.zeros(len(rows))
        of_price = np.median(scores.parts[group]) if group is ReasonType.PRICE_AFFINITY else 0
        np.testing.assert_allclose(told.contributions[:, place], part - of_price, atol=1e-6)
    np.testing.assert_allclose(told.baseline, np.median(scores.parts[ReasonType.PRICE_AFFINITY]), atol=1e-6)
    np.testing.assert_allclose(told.scores, scores.total[rows], atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("group", [group for group in GROUPS if group is not ReasonType.QUERY_MATCH])
def test_taking_a_group_out_of_the_inputs(group: ReasonType, seed: int) -> None:
    """The score falls by the contribution where the ranker is asked again without what the group is made of.

    Not for the query: without it retrieval would have found other candidates.
    """
    request = drawn(seed)
    told = explain(request, RANKER(request), [2])[2]
    fall = RANKER(request).total[2] - RANKER(without(request, group)).total[2]
    assert fall == pytest.approx(told.contributions[group], abs=1e-6)


def test_baselines_are_explained_too() -> None:
    """A ranker of one part has one contribution: the score."""
    request = drawn(3)
    told = explain(request, by_popularity(request), [1])[1]
    assert {group for group, value in told.contributions.items() if value} == {ReasonType.POPULARITY}
    assert told.contributions[ReasonType.POPULARITY] == pytest.approx(float(request.popularity[1]))


def test_nothing_is_sponsored() -> None:
    """The group is there, and contributes exactly 0."""
    request = drawn(4)
    assert explain(request, RANKER(request), [0])[0].contributions[ReasonType.SPONSORED] == 0


def test_coalitions_begin_with_none_and_end_with_all() -> None:
    """The first row knows nothing, the last one everything."""
    assert not COALITIONS[0].any()
    assert COALITIONS[-1].all()


def test_without_a_question_nearness_is_history() -> None:
    """Who asked for nothing has no query: retrieval's scores count as history, and nothing is lost."""
    request = drawn(5)
    scores = RANKER(request)
    slate = make_slate(request, scores.total, 0.0, Random(1))
    asked, unasked = (explain(request, scores, [3], made)[3] for made in (None, slate))
    assert unasked.contributions[ReasonType.QUERY_MATCH] == 0
    both = asked.contributions[ReasonType.QUERY_MATCH] + asked.contributions[ReasonType.RECENT_HISTORY]
    assert unasked.contributions[ReasonType.RECENT_HISTORY] == pytest.approx(both)
    assert sum(unasked.contributions.values()) + unasked.baseline == pytest.approx(float(scores.total[3]), abs=1e-5)


def test_popular_items_are_near_to_nothing() -> None:
    """Where retrieval's scores are all alike they say nothing of the user: they are the baseline."""
    request = drawn(6)
    request = replace(request, retrieval_scores=np.zeros(31, np.float32))
    scores = RANKER(request)
    told = explain(request, scores, [3], make_slate(request, scores.total, 0.0, Random(1)))[3]
    of_price = float(np.median(scores.parts[ReasonType.PRICE_AFFINITY]))
    assert told.baseline == pytest.approx(WEIGHTS.query + of_price)
    assert told.contributions[ReasonType.RECENT_HISTORY] == pytest.approx(
        float(scores.parts[ReasonType.RECENT_HISTORY][3])
    )


def test_neither_parts_nor_masks() -> None:
    """A ranker without parts and without masked scores has no explanation."""
    request = drawn(1)
    assert explain(request, Scores(request.popularity), [0]) == {}
