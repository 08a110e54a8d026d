"""The ranking stage of boosted trees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.ranker.adapters.version_manifest import MANIFEST
from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.domain.weights import Weights
from tests.unit.training.planted import CANDIDATES, chosen_lists, made_numbers, shown_pages, utility
from training.ranking.examples import KINDS, TASKS
from training.ranking.metrics import calibration_error, mean_rank_correlation
from training.ranking.trees import TreeLists, Trees, TreeSettings, fit_trees
from training.ranking.version import is_trees, predictor_of

# Three features say something here: a tree that sees a part of them would often see none.
SETTINGS = TreeSettings(
    trees=60, leaves=15, least_in_leaf=50, learning_rate=0.1, feature_share=1.0, least_lists=300
)  # fmt: skip
# Of the weighted sum. With lists as short as these every candidate is reranked, whatever they are.
WEIGHTS = dict.fromkeys(KINDS, Weights(1.0, 0.8, 0.1, 0.1, 0.5, 3.0))


def fitted(lists: TreeLists, seed: int = 0) -> Trees:
    found = fit_trees(lists, WEIGHTS, SETTINGS, seed)
    assert found is not None
    return found


def agreement(trees: Trees, seed: int = 99) -> float:
    """Rank correlation with the utility within new lists."""
    numbers = made_numbers(200, np.random.default_rng(seed))
    flat = numbers.reshape(-1, len(CANDIDATE_NUMBERS))
    lists = np.repeat(np.arange(200), CANDIDATES)
    return mean_rank_correlation(lists, trees.scores(flat), utility(numbers).reshape(-1))


def test_a_rule_that_no_weighted_sum_has_is_learned() -> None:
    """New lists are ordered as the rule says, by the features that it reads; without pages there are no curves."""
    trees = fitted(chosen_lists(1_500))
    assert agreement(trees) > 0.85
    assert set(list(trees.importance())[:3]) == {"shopper_match", "price_affinity", "log_popularity"}
    assert (trees.lists, trees.serves, trees.curves) == ({"person": 1_500, "product": 0, "search": 0}, ["person"], {})
    assert trees.spread > 1


def test_the_bias_of_the_position_is_removed() -> None:
    """Clicks that follow the place of a product more than its worth still teach its worth."""
    pages = shown_pages(3_000)
    lists = TreeLists.of_pages(pages)
    debiased, plain = fitted(lists), fitted(replace(lists, positions=np.ones_like(lists.positions)))
    assert agreement(debiased) > agreement(plain) + 0.03
    assert agreement(debiased) > 0.8


def test_probabilities_come_true() -> None:
    """At their positions they are the rates of new pages; at the first place they are higher, and a stage is rarer."""
    trees, new = fitted(TreeLists.of_pages(shown_pages(3_000))), shown_pages(1_500, seed=1)
    shown, first = (
        trees.predict_as_shown(pages) for pages in (new, replace(new, positions=np.ones_like(new.positions)))
    )
    for task in TASKS:
        assert calibration_error(getattr(new, task), shown[task]) < 0.02
    assert (first["click"] >= shown["click"]).all()
    assert first["click"].mean() > first["cart"].mean() > first["purchase"].mean()
    with pytest.raises(ValueError, match="search"):
        trees.predict_as_shown(replace(new, kinds=np.full(new.page_count, "search")))


def test_equal_arguments_give_equal_trees(tmp_path: Path) -> None:
    """Also after they were stored."""
    lists = chosen_lists(1_000)
    one, same = fitted(lists), fitted(lists)
    one.save(tmp_path)
    stored = Trees.load(tmp_path)
    for again in (same, stored):
        np.testing.assert_array_equal(again.scores(lists.numbers), one.scores(lists.numbers))
    assert (stored.lists, stored.serves, stored.spread, stored.curves) == (one.lists, one.serves, one.spread, {})


def test_kinds_with_few_lists_are_not_served() -> None:
    """One order is learned from all lists; with few of every kind there is none."""
    few = chosen_lists(200, seed=1, kind="search")
    assert fitted(TreeLists.joined([chosen_lists(600), few])).serves == ["person"]
    assert fit_trees(few, WEIGHTS, SETTINGS) is None


def test_only_the_best_of_the_weighted_sum_are_reranked() -> None:
    """The trees order the best candidates; the others stay behind them, in the order of the weighted sum."""
    lists, few = chosen_lists(800), replace(SETTINGS, reranked=5)
    trees, first = fit_trees(lists, WEIGHTS, few), lists.first(WEIGHTS)
    assert trees is not None
    assert trees.lists["person"] < 800  # a list whose outcome is behind the best says nothing
    order = trees.order_of_lists(lists.lists, first, lists.numbers).reshape(-1, CANDIDATES)
    of_trees, of_sum = (scores.reshape(-1, CANDIDATES) for scores in (trees.scores(lists.numbers), first))
    for row in range(50):
        best, rest = np.split(np.argsort(-of_sum[row], kind="stable"), [5])
        assert order[row, best].min() > order[row, rest].max()
        assert (np.argsort(-order[row, best]) == np.argsort(-of_trees[row, best])).all()
        assert (np.diff(order[row, rest]) <= 0).all()


def test_other_features_are_refused(tmp_path: Path) -> None:
    """A version that was trained on features of another version is not loaded; the remedy is named."""
    fitted(chosen_lists(600)).save(tmp_path)
    manifest = tmp_path / MANIFEST
    manifest.write_text(manifest.read_text().replace('"features_version": ', '"features_version": 9'))
    with pytest.raises(ValueError, match="train it again"):
        Trees.load(tmp_path)


def test_what_a_version_predicts(tmp_path: Path) -> None:
    """Pages of a kind that the trees serve are predicted by them, the others by the weighted sum, which alone they
    equal without a version. Trees without curves of their own get some.
    """
    trees, pages = fitted(chosen_lists(600)), shown_pages(600)
    trees.save(tmp_path)
    version, alone = predictor_of(tmp_path, "text@1", WEIGHTS, pages), predictor_of(None, "text@1", WEIGHTS, pages)
    assert is_trees(tmp_path)
    wanted = utility(pages.numbers)
    found = [predictor.order(pages) for predictor in (version, alone)]
    assert mean_rank_correlation(pages.page, found[0], wanted) > mean_rank_correlation(pages.page, found[1], wanted)
    assert calibration_error(pages.click, version.predict_as_shown(pages)["click"]) < 0.02
    searches = replace(pages, kinds=np.full(pages.page_count, "search"))
    version, alone = (predictor_of(folder, "text@1", WEIGHTS, searches) for folder in (tmp_path, None))
    np.testing.assert_array_equal(version.order(searches), alone.order(searches))
    one, other = (predictor.predict_as_shown(searches)["click"] for predictor in (version, alone))
    np.testing.assert_array_equal(one, other)
