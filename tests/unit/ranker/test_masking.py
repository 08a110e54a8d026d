"""Masked groups of a network and of trees: a mask equals a request without the group's data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.ranker.adapters.onnx_ranker import OnnxRanker
from services.ranker.adapters.trees_ranker import TreesRanker
from services.ranker.domain.attribution import COALITIONS, masked_of, shapley
from services.ranker.domain.event_shares import Basis
from services.ranker.domain.explanation import explain
from services.ranker.domain.masking import MOST_REMOVED
from services.ranker.domain.objective import Objective
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.reasons import GROUPS, ReasonType
from services.ranker.domain.scores import Masked, Ranker, Scores
from tests.unit.ranker.requests import DIMENSIONS, drawn, without
from tests.unit.ranker.test_attribution import by_all_orders
from tests.unit.ranker.trees_folders import write_trees
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings

ROWS = [0, 5, 17]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> OnnxRanker:
    """Untrained; its groups interact nevertheless."""
    folder = tmp_path_factory.mktemp("network") / "1"
    LearnableRanker(NetworkSettings(dimensions=DIMENSIONS), vector_version="m@1", seed=3).save(folder)
    return OnnxRanker(folder, lambda: Objective(1, 3, 6, 0.5), _never, _never)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> TreesRanker:
    folder = tmp_path_factory.mktemp("trees") / "1"
    write_trees(folder, seed=3)
    return TreesRanker(folder, _never, _never, "learned@1")


@pytest.fixture(params=["network", "trees"])
def ranker(request: pytest.FixtureRequest) -> Ranker:
    found: Ranker = request.getfixturevalue(request.param)
    return found


def _never(request: RankingRequest) -> Scores:
    raise AssertionError("the learned ranker itself has to rank")


def _by_retrieval(request: RankingRequest) -> Scores:
    return Scores(request.retrieval_scores)


def masked(ranker: Ranker, request: RankingRequest) -> Masked:
    found = masked_of(request, ranker(request), ROWS)
    assert found is not None
    return found


def score(ranker: Ranker, request: RankingRequest, known: Sequence[ReasonType]) -> np.ndarray:
    mask = np.array([[group in known for group in GROUPS]])
    return np.asarray(masked(ranker, request).score(mask)[0])


@pytest.mark.parametrize("seed", range(3))
def test_no_mask_is_the_score(ranker: Ranker, seed: int) -> None:
    """Without masked groups the masked ranker returns the ranker's score."""
    request = drawn(seed)
    np.testing.assert_allclose(score(ranker, request, GROUPS), ranker(request).total[ROWS], rtol=1e-5)


@pytest.mark.parametrize("group", [ReasonType.QUERY_MATCH, ReasonType.RECENT_HISTORY, ReasonType.POPULARITY])
def test_a_mask_equals_a_request_without_the_group(ranker: Ranker, group: ReasonType) -> None:
    """With a masked group the ranker returns the score of a request without that group's data."""
    request = drawn(7)
    if group is ReasonType.QUERY_MATCH:
        bare = replace(
            request, query=None, retrieval_scores=np.zeros(31, np.float32), retrieval_bounds=(0.0, 1.0),
            dense_scores=None, lexical_scores=None,
        )  # fmt: skip
    else:
        bare = without(request, group)
    masked = score(ranker, request, [other for other in GROUPS if other is not group])
    np.testing.assert_allclose(masked, ranker(bare).total[ROWS], rtol=1e-5)
    assert not np.allclose(masked, ranker(request).total[ROWS], rtol=1e-5)


def test_in_stock_is_the_baseline(ranker: Ranker) -> None:
    """An item out of stock has a negative availability contribution: it includes the loss of an item out of stock."""
    request = drawn(8)
    request = replace(request, stocks=np.where(np.arange(31) == 0, 0, 5).astype(np.float32))
    explained = explain(request, ranker(request), ROWS)
    assert explained[0].contributions[ReasonType.AVAILABILITY] < 0


def test_exact_for_a_learned_ranker(ranker: Ranker) -> None:
    """The values match the definition over all 720 orders, and are not a sum of single-group effects."""
    request = drawn(9)
    scorer = masked(ranker, request).score
    explained = shapley(scorer)
    np.testing.assert_allclose(explained.contributions, by_all_orders(scorer, len(ROWS)), atol=1e-5)
    values = np.asarray(scorer(COALITIONS))
    alone = np.stack([values[1 << place] - values[0] for place in range(len(GROUPS))], axis=1)
    assert not np.allclose(alone, explained.contributions, atol=1e-4)


def test_independent_of_other_explained_items(ranker: Ranker) -> None:
    """An item's explanation does not depend on which other items are explained with it."""
    request = drawn(10)
    alone, together = (explain(request, ranker(request), rows)[5] for rows in ([5], ROWS))
    assert alone.contributions == pytest.approx(together.contributions, abs=1e-6)


def test_a_user_without_history(ranker: Ranker) -> None:
    """Without a history, the history contributes exactly 0."""
    request = without(drawn(11), ReasonType.RECENT_HISTORY)
    request = replace(request, profile=replace(request.profile, shown_without_click={}))
    assert explain(request, ranker(request), ROWS)[0].contributions[ReasonType.RECENT_HISTORY] == 0


def test_removed_events_change_the_score(network: OnnxRanker) -> None:
    """Removing the events on one of the heaviest items changes the score; the other items are not removed."""
    request = drawn(12, events=20)
    influences = masked(network, request).influences()
    assert influences.shape == (3, 20)
    weighty = np.argsort(-np.abs(request.profile.weights), kind="stable")
    assert (np.abs(influences[:, weighty[:MOST_REMOVED]]) > 0).all()
    assert (influences[:, weighty[MOST_REMOVED:]] == 0).all()


def test_trees_give_each_basis_its_part(tmp_path: Path) -> None:
    """Shopper model, neighbours and similarity each have what the score loses without it; single events matter."""
    write_trees(tmp_path, likes={"shopper_match": 1.0, "neighbour_match": 1.0, "history_match": 3.0})
    trees = TreesRanker(tmp_path, _never, _never, "learned@1")
    request = replace(drawn(12, events=20), neighbour_scores=np.linspace(9, 0, 31, dtype=np.float32))
    found, whole = masked(trees, request), trees(request).total[ROWS]
    without_shopper = whole - trees(replace(request, shopper_scores=None)).total[ROWS]
    without_neighbours = whole - trees(replace(request, neighbour_scores=None)).total[ROWS]
    parts = found.of_history()
    np.testing.assert_allclose(parts[Basis.SHOPPER], without_shopper, atol=1e-5)
    np.testing.assert_allclose(parts[Basis.TOGETHER], without_neighbours, atol=1e-5)
    assert all(np.abs(part).max() > 0 for part in parts.values())
    assert np.abs(found.influences()).max() > 0


def test_without_a_history_no_influences(ranker: Ranker) -> None:
    """Without a history there are no influences."""
    request = without(drawn(13), ReasonType.RECENT_HISTORY)
    assert masked(ranker, request).influences().shape == (3, 0)


def _reranking(kind: str, folder: Path, most: int) -> Ranker:
    """Of the best `most` of the order of retrieval."""
    if kind == "trees":
        write_trees(folder, likes={"shopper_match": 1.0}, reranked=most)
        return TreesRanker(folder, _by_retrieval, _never, "learned@1")
    made = LearnableRanker(NetworkSettings(dimensions=DIMENSIONS), vector_version="m@1", seed=3)
    made.reranked = most
    made.save(folder)
    return OnnxRanker(folder, lambda: Objective(1, 3, 6, 0.5), _by_retrieval, _never)


@pytest.mark.parametrize("kind", ["network", "trees"])
def test_candidates_behind_the_reranked_ones(kind: str, tmp_path: Path) -> None:
    """They stay behind in the order of the weighted sum, and their contributions add up to their scores."""
    request = replace(drawn(14), stocks=np.full(31, 5, np.float32))
    found, first = _reranking(kind, tmp_path, 10)(request), np.argsort(-request.retrieval_scores, kind="stable")
    order = np.argsort(-found.total, kind="stable")
    assert order[10:].tolist() == first[10:].tolist()
    assert set(order[:10].tolist()) == set(first[:10].tolist())
    assert order[:10].tolist() != first[:10].tolist()
    rows = [int(first[0]), int(first[-1])]
    for row, own in explain(request, found, rows).items():
        assert own.baseline + sum(own.contributions.values()) == pytest.approx(float(found.total[row]), abs=1e-4)


@pytest.mark.parametrize("kind", ["network", "trees"])
def test_what_is_behind_changes_no_score_of_the_best(kind: str, tmp_path: Path) -> None:
    """The reranked candidates have the scores that they have where all are reranked; equal weighted sums keep their
    order behind them.
    """
    equal, stocks = np.full(31, 0.5, np.float32), np.full(31, 5, np.float32)
    request = replace(drawn(15), retrieval_scores=equal, stocks=stocks)
    few, all_of_them = (_reranking(kind, tmp_path / str(most), most)(request).total for most in (10, 31))
    np.testing.assert_allclose(few[:10], all_of_them[:10], rtol=1e-6)
    assert (np.diff(few[10:]) < 0).all()
    assert few[:10].min() > few[10:].max()
