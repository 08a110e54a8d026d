"""Shapley values over six feature groups: exact, complete, and equal to the effect of removing the inputs."""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial

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
    """One hidden layer: the groups interact, and no part of the score depends on one group alone."""
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(6, 16)), random.normal(size=(16, items))
    return lambda known: np.tanh(known.astype(np.float64) @ first + 0.3) @ second


def by_all_orders(scorer: Scorer, items: int) -> DoubleArray:
    """[items, 6], by definition: the mean gain over the 720 orders in which groups can be added."""
    values = np.zeros((items, len(GROUPS)))
    for order in itertools.permutations(range(len(GROUPS))):
        known = np.zeros((len(GROUPS) + 1, len(GROUPS)), bool)
        for step, group in enumerate(order):
            known[step + 1 :, group] = True
        values[:, order] += np.diff(scorer(known), axis=0).T
    return values / 720


def test_exact() -> None:
    """The values match the definition, for a scorer whose groups interact."""
    scorer = network(1)
    np.testing.assert_allclose(shapley(scorer).contributions, by_all_orders(scorer, 10), atol=1e-12)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_complete(seed: int) -> None:
    """Contributions sum to score less baseline, which are the scorer's values for all groups and for none."""
    scorer = network(seed)
    explained = shapley(scorer)
    np.testing.assert_allclose(explained.contributions.sum(axis=1), explained.scores - explained.baseline, atol=1e-9)
    np.testing.assert_allclose(explained.scores, scorer(np.ones((1, 6), bool))[0], atol=1e-9)
    np.testing.assert_allclose(explained.baseline, scorer(np.zeros((1, 6), bool))[0], atol=1e-9)


def test_one_batch() -> None:
    """All 64 coalitions, each once, go to the scorer in one call."""
    asked: list[BoolArray] = []

    def scorer(known: BoolArray) -> DoubleArray:
        asked.append(known)
        return np.zeros((len(known), 3))

    shapley(scorer)
    assert [len({tuple(row) for row in known.tolist()}) for known in asked] == [64]


def test_a_group_without_effect() -> None:
    """A group without effect contributes exactly 0."""
    scorer = network(2)
    blind = shapley(lambda known: scorer(known & (np.arange(6) != 3)))
    assert (blind.contributions[:, 3] == 0).all()
    assert (blind.contributions[:, 2] != 0).all()


def test_a_non_deterministic_scorer() -> None:
    """A scorer that returns inconsistent values raises an error instead of an explanation."""
    with pytest.raises(ArithmeticError, match="miss the score"):
        shapley(lambda known: np.where(known.all(axis=1, keepdims=True), np.nan, 1.0))


@pytest.mark.parametrize("seed", range(5))
def test_a_weighted_sum_is_explained_by_its_parts(seed: int) -> None:
    """For a weighted sum the values are its parts; the price part is given relative to its median, the baseline."""
    request = drawn(seed)
    scores, rows = RANKER(request), [0, 4, 9, 29]
    explained = shapley(MaskedSum(request, scores, rows).score)
    for place, group in enumerate(GROUPS):
        part = scores.parts[group][rows] if group in scores.parts else np.zeros(len(rows))
        of_price = np.median(scores.parts[group]) if group is ReasonType.PRICE_AFFINITY else 0
        np.testing.assert_allclose(explained.contributions[:, place], part - of_price, atol=1e-6)
    np.testing.assert_allclose(explained.baseline, np.median(scores.parts[ReasonType.PRICE_AFFINITY]), atol=1e-6)
    np.testing.assert_allclose(explained.scores, scores.total[rows], atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("group", [group for group in GROUPS if group is not ReasonType.QUERY_MATCH])
def test_removing_a_group_from_the_inputs(group: ReasonType, seed: int) -> None:
    """The score falls by the contribution if the ranker is called without the group's inputs.

    Not for the query: without it retrieval would have found other candidates.
    """
    request = drawn(seed)
    explained = explain(request, RANKER(request), [2])[2]
    fall = RANKER(request).total[2] - RANKER(without(request, group)).total[2]
    assert fall == pytest.approx(explained.contributions[group], abs=1e-6)


def test_baselines_are_explained_too() -> None:
    """A ranker with one part has one contribution, its score."""
    request = drawn(3)
    explained = explain(request, by_popularity(request), [1])[1]
    assert {group for group, value in explained.contributions.items() if value} == {ReasonType.POPULARITY}
    assert explained.contributions[ReasonType.POPULARITY] == pytest.approx(float(request.popularity[1]))


def test_nothing_is_sponsored() -> None:
    """The group for sponsored items exists and contributes exactly 0."""
    request = drawn(4)
    assert explain(request, RANKER(request), [0])[0].contributions[ReasonType.SPONSORED] == 0


def test_coalitions_begin_with_none_and_end_with_all() -> None:
    """The first row has no group, the last row has all groups."""
    assert not COALITIONS[0].any()
    assert COALITIONS[-1].all()


def test_without_a_query_similarity_counts_as_history() -> None:
    """Without a query, retrieval scores count as history, and the contributions still sum to the score."""
    request = drawn(5)
    scores = RANKER(request)
    slate = make_slate(request, scores.total)
    asked, unasked = (explain(request, scores, [3], made)[3] for made in (None, slate))
    assert unasked.contributions[ReasonType.QUERY_MATCH] == 0
    both = asked.contributions[ReasonType.QUERY_MATCH] + asked.contributions[ReasonType.RECENT_HISTORY]
    assert unasked.contributions[ReasonType.RECENT_HISTORY] == pytest.approx(both)
    assert sum(unasked.contributions.values()) + unasked.baseline == pytest.approx(float(scores.total[3]), abs=1e-5)


def test_equal_retrieval_scores_are_the_baseline() -> None:
    """Equal retrieval scores carry no information about the user: they are part of the baseline."""
    request = drawn(6)
    request = replace(request, retrieval_scores=np.zeros(31, np.float32))
    scores = RANKER(request)
    explained = explain(request, scores, [3], make_slate(request, scores.total))[3]
    of_price = float(np.median(scores.parts[ReasonType.PRICE_AFFINITY]))
    assert explained.baseline == pytest.approx(WEIGHTS.query + of_price)
    assert explained.contributions[ReasonType.RECENT_HISTORY] == pytest.approx(
        float(scores.parts[ReasonType.RECENT_HISTORY][3])
    )


def test_neither_parts_nor_masks() -> None:
    """A ranker without parts and without masked scores has no explanation."""
    request = drawn(1)
    assert explain(request, Scores(request.popularity), [0]) == {}


def test_what_relates_to_a_page_is_no_history() -> None:
    """The score of candidates that were found by the products of a page stays apart from the history."""
    request = drawn(5)
    scores = RANKER(request)
    slate = make_slate(request, scores.total)
    asked, of_page = explain(request, scores, [3])[3], explain(request, scores, [3], slate, is_by_history=False)[3]
    assert of_page.contributions == asked.contributions
    assert of_page.slate is not None
