"""The ranking stage of boosted trees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.ranker.domain.features import CANDIDATE_NUMBERS
from training.ranking.examples import TASKS, Examples
from training.ranking.metrics import calibration_error, mean_rank_correlation
from training.ranking.trees import MANIFEST, TreeLists, Trees, TreeSettings, fit_trees

SETTINGS = TreeSettings(trees=60, least_in_leaf=50, learning_rate=0.1, least_lists=300)
CANDIDATES = 12
SHOPPER, PRICE, POPULARITY = (
    CANDIDATE_NUMBERS.index(name) for name in ("shopper_match", "price_affinity", "log_popularity")
)


def utility(numbers: np.ndarray) -> np.ndarray:
    """What no weighted sum is: a price counts only for what fits the person."""
    fits = numbers[..., SHOPPER] > 0.5
    return np.where(fits, 1.5 + 2.5 * numbers[..., PRICE], numbers[..., POPULARITY])


def made_numbers(count: int, random: np.random.Generator, candidates: int = CANDIDATES) -> np.ndarray:
    """[count, candidates, features]"""
    numbers = np.zeros((count, candidates, len(CANDIDATE_NUMBERS)), np.float32)
    numbers[..., [SHOPPER, PRICE, POPULARITY]] = random.random((count, candidates, 3))
    return numbers


def of_rows(numbers: np.ndarray, reached: np.ndarray, positions: np.ndarray, kind: str = "person") -> TreeLists:
    """All [count, CANDIDATES, …]; a person has two lists."""
    count, flat = len(numbers), reached.reshape(-1).astype(np.int64)
    return TreeLists(
        numbers.reshape(-1, len(CANDIDATE_NUMBERS)), np.repeat(np.arange(count), CANDIDATES), flat,
        positions.reshape(-1), np.ones(len(flat), np.float32), np.full(count, kind),
        np.array([f"person {row // 2}" for row in range(count)]),
    )  # fmt: skip


def chosen_lists(count: int, seed: int = 0, kind: str = "person") -> TreeLists:
    """Lists in which one candidate is chosen by a softmax of its utility, and that nobody was shown."""
    random = np.random.default_rng(seed)
    numbers = made_numbers(count, random)
    best = np.argmax(2 * utility(numbers) + random.gumbel(size=(count, CANDIDATES)), axis=1)
    reached = np.arange(CANDIDATES) == best[:, None]
    return of_rows(numbers, reached, np.zeros((count, CANDIDATES), np.int64), kind)


def shown_pages(count: int, seed: int = 0, items: int = 60) -> Examples:
    """Pages in the order of popularity and chance; low places are looked at rarely."""
    random = np.random.default_rng(seed)
    of_item = made_numbers(1, np.random.default_rng(7), items)[0]
    item = np.argsort(random.random((count, items)), axis=1)[:, :CANDIDATES]
    shown_as = of_item[item][..., POPULARITY] + 0.5 * random.random((count, CANDIDATES))
    item = np.take_along_axis(item, np.argsort(-shown_as, axis=1), axis=1)
    places = np.tile(np.arange(1, CANDIDATES + 1), (count, 1))
    click = random.random((count, CANDIDATES)) < utility(of_item)[item] / 5 / places**0.8
    cart = click & (random.random((count, CANDIDATES)) < 0.5)
    labels = {"click": click, "cart": cart, "purchase": cart & (random.random((count, CANDIDATES)) < 0.5)}
    return replace(
        Examples.none(), numbers=of_item[item].reshape(-1, len(CANDIDATE_NUMBERS)), item=item.reshape(-1),
        item_ids=np.arange(items).astype(str), page=np.repeat(np.arange(count), CANDIDATES),
        positions=places.reshape(-1), shown_s=np.zeros(count), kinds=np.full(count, "person"),
        persons=np.array([f"person {row}" for row in range(count)]), ranking_ids=np.arange(count).astype(str),
        **{name: of.reshape(-1).astype(np.float32) for name, of in labels.items()},
    )  # fmt: skip


def fitted(lists: TreeLists, seed: int = 0) -> Trees:
    found = fit_trees(lists, SETTINGS, seed)
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
    shown, first = trees.predict_as_shown(new), trees.predict(new)
    for task in TASKS:
        assert calibration_error(getattr(new, task), shown[task]) < 0.02
    assert (first["click"] >= shown["click"]).all()
    assert first["click"].mean() > first["cart"].mean() > first["purchase"].mean()
    with pytest.raises(ValueError, match="search"):
        trees.predict(replace(new, kinds=np.full(new.page_count, "search")))


def test_equal_arguments_give_equal_trees(tmp_path: Path) -> None:
    """Also after they were stored; another seed gives others."""
    lists = chosen_lists(1_000)
    one, same, other = fitted(lists), fitted(lists), fitted(lists, seed=1)
    one.save(tmp_path)
    stored = Trees.load(tmp_path)
    for again in (same, stored):
        np.testing.assert_array_equal(again.scores(lists.numbers), one.scores(lists.numbers))
    assert (stored.lists, stored.serves, stored.spread, stored.curves) == (one.lists, one.serves, one.spread, {})
    assert (other.scores(lists.numbers) != one.scores(lists.numbers)).any()


def test_kinds_with_few_lists_are_not_served() -> None:
    """One order is learned from all lists; with few of every kind there is none."""
    few = chosen_lists(200, seed=1, kind="search")
    assert fitted(TreeLists.joined([chosen_lists(600), few])).serves == ["person"]
    assert fit_trees(few, SETTINGS) is None


def test_other_features_are_refused(tmp_path: Path) -> None:
    """A version that was trained on features of another version is not loaded; the remedy is named."""
    fitted(chosen_lists(600)).save(tmp_path)
    manifest = tmp_path / MANIFEST
    manifest.write_text(manifest.read_text().replace('"features_version": ', '"features_version": 9'))
    with pytest.raises(ValueError, match="train it again"):
        Trees.load(tmp_path)
