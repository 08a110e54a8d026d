"""Versions are distinguished on held-back pages, and only by significant differences."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from services.common.arrays import FloatArray
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.domain.weights import Weights
from tests.unit.learner.logs import Shop
from training.ranking.examples import TASKS, Examples
from training.ranking.guardrail import Thresholds, Verdict, compare, log_losses, ndcg_of_pages
from training.ranking.reading import ExampleReader
from training.ranking.scoring_function import ScoringFunction

MATCH = CANDIDATE_NUMBERS.index("query_match")


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    store = SqliteProfileStore(tmp_path_factory.mktemp("log"))
    shop = Shop(store)
    shop.show(500)
    return ExampleReader(store, window_s=60).read(shop.now_s + 60)


@dataclass
class Guess:
    """Knows by how much a match is liked: the truth is 12. `predicts` as of a Predictor."""

    slope: float
    predicts: bool = True

    def predict_as_shown(self, examples: Examples) -> dict[str, FloatArray]:
        logits = self.slope * (examples.numbers[:, MATCH] - 0.5) - 1.5
        return dict.fromkeys(TASKS, (1 / (1 + np.exp(-logits))).astype(np.float32)) | {
            task: np.full(len(examples), 1e-6, np.float32) for task in ("cart", "purchase")
        }

    def order(self, examples: Examples) -> FloatArray:
        return self.predict_as_shown(examples)["click"]


def verdict(held: Examples, current: float, challenger: float) -> Verdict:
    return compare(held, Guess(current), Guess(challenger), Thresholds(resamples=300))


def test_a_better_version_passes(held: Examples) -> None:
    """It passes when it is better by a difference whose interval is without 0, and the figures say by how much."""
    found = verdict(held, current=1.0, challenger=12.0)
    assert found.passed
    log_loss = found.differences["log_loss"]
    assert log_loss.low < log_loss.challenger - log_loss.current < log_loss.high < 0


def test_the_same_version_does_not_pass(held: Examples) -> None:
    """A version that says the same is refused: it is not surely better."""
    found = verdict(held, current=12.0, challenger=12.0)
    assert (found.passed, found.reason) == (False, "log_loss is not surely better")


def test_a_worse_version_does_not_pass(held: Examples) -> None:
    """A version that is worse is refused, and called so."""
    found = verdict(held, current=12.0, challenger=1.0)
    assert (found.passed, found.reason) == (False, "log_loss is worse")


def test_better_probabilities_do_not_pay_for_a_worse_order(held: Examples) -> None:
    """A version with the better log loss is refused where its order may be worse."""

    class Reversed(Guess):
        def order(self, examples: Examples) -> FloatArray:
            return -super().order(examples)

    found = compare(held, Guess(1.0), Reversed(12.0), Thresholds(resamples=300))
    assert not found.passed
    assert found.reason.startswith("ndcg may be worse")


def test_probabilities_alone_do_not_replace_a_score(held: Examples) -> None:
    """Against a score, whose probabilities are made for the comparison, the order must be better too."""
    found = compare(held, Guess(1.0, predicts=False), Guess(12.0), Thresholds(resamples=300))
    assert (found.passed, found.reason) == (False, "ndcg is not surely better")


def test_the_order_that_a_score_serves_is_judged(held: Examples) -> None:
    """Also where its curve falls, here as pages of high scores are clicked less: what turns the order round is refused,
    however well it knows which pages are clicked.
    """
    random = np.random.default_rng(0)
    level = random.uniform(0, 6, held.page_count)[held.page]
    worth = random.normal(0, 0.5, len(held))
    chance = 1 / (1 + np.exp(-(2 * worth - level + 0.5)))
    numbers = held.numbers.copy()
    numbers[:, MATCH] = level + worth
    click = (random.random(len(held)) < chance).astype(np.float32)
    pages = replace(held, numbers=numbers, click=click, cart=np.zeros_like(click), purchase=np.zeros_like(click))
    score = ScoringFunction.of_weights(Weights(1.0, 0, 0, 0, 0), pages)
    assert score.predict_as_shown(pages)["click"][np.argmax(level)] < score.predict_as_shown(pages)["click"].mean()

    class OfPages(Guess):
        def predict_as_shown(self, examples: Examples) -> dict[str, FloatArray]:
            shown = (1 / (1 + np.exp(level + 0.5 * worth - 0.5))).astype(np.float32)
            return {task: shown if task == "click" else np.full_like(shown, 1e-6) for task in TASKS}

    found = compare(pages, score, OfPages(0.0), Thresholds(resamples=300))
    assert found.differences["log_loss"].high < 0
    assert (found.passed, found.reason) == (False, "ndcg is worse")


def test_without_clicks_nothing_is_said(held: Examples) -> None:
    """Pages without a click cannot distinguish versions."""
    starts = np.bincount(held.page, held.click, held.page_count)
    unclicked = held.take(np.flatnonzero(starts == 0))
    with pytest.raises(ValueError, match="cannot tell versions apart"):
        compare(unclicked, Guess(1), Guess(2), Thresholds())


def test_metrics_by_hand(held: Examples) -> None:
    """Log loss is the cross-entropy summed over tasks; a page's NDCG is 1 in the best order, less in the worst."""
    half = dict.fromkeys(TASKS, np.full(len(held), 0.5, np.float32))
    np.testing.assert_allclose(log_losses(held, half), 3 * np.log(2), rtol=1e-6)
    clicked = np.bincount(held.page, held.click, held.page_count) > 0
    best, worst = ndcg_of_pages(held, held.click), ndcg_of_pages(held, -held.click)
    np.testing.assert_allclose(best[clicked], 1)
    assert np.isnan(best[~clicked]).all()
    assert (worst[clicked] < 1).any()


def test_the_scoring_function_as_an_opponent(held: Examples) -> None:
    """Its order is that of its weighted sum, and its curve makes probabilities that are right on average."""
    opponent = ScoringFunction.of_weights(Weights(1.0, 0.8, 0.1, 0.1, 0.5), held)
    of_match = ScoringFunction.of_weights(Weights(1.0, 0, 0, 0, 0), held)
    np.testing.assert_allclose(of_match.order(held), held.numbers[:, MATCH])
    assert opponent.predict_as_shown(held)["click"].mean() == pytest.approx(held.click.mean(), abs=0.005)
    assert opponent.predict_as_shown(held)["purchase"].max() < 0.01
    assert opponent.predict_as_shown(held)["click"].std() > 0.1
