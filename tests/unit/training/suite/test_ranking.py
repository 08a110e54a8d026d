"""What `kairos train` does with the ranking stage."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Stage, StepKind
from services.ranker.adapters.boosted_trees import BoostedTrees
from services.ranker.adapters.trees_ranker import ORDER
from services.ranker.domain.weights import Weights
from services.ranker.settings import RankerSettings, WeightSettings
from tests.unit.training.planted import chosen_lists, shown_pages, utility
from tests.unit.training.suite.shop import WEIGHTS, bar
from training.ranking.examples import KINDS, Examples
from training.ranking.version import weights_by_kind
from training.shopper.lists import Lists
from training.suite.outcome import Outcome, Result
from training.suite.ranking import train_ranking
from training.suite.ranking_data import RankingData
from training.suite.settings import Least, SuiteTraining
from training.suite.work import WorkFolder

SETTINGS = SuiteTraining(Least(lists=400, pages=500), ranking_epochs=1)
# The best weighted sum of the planted rule.
GOOD = Weights(query=0.0, history=0.0, price=1.0, popularity=0.0, availability=0.5, shopper=3.0)


def lists(count: int = 1_000, seed: int = 0, worth: float = 1.0) -> Lists:
    made = chosen_lists(count, seed, worth=worth)
    persons = np.array([f"{seed}/{row}" for row in range(count)])
    return Lists(made.numbers, made.lists, made.reached, made.weights, persons)


def train(folder: Path, data: RankingData, weights: Weights = GOOD) -> tuple[Outcome, ModelRegistry]:
    registry = ModelRegistry(folder / "models")
    return (
        train_ranking(WorkFolder(folder / "work"), data, registry, dict.fromkeys(KINDS, weights), SETTINGS, bar()),
        registry,
    )


def test_the_first_trees_serve_if_they_order_better(tmp_path: Path) -> None:
    """They beat the weighted sum on persons who did not train; what is published can be served and explains itself."""
    outcome, registry = train(tmp_path, RankingData(lists(), Examples.none(), "text@1", 0))
    assert (outcome.result, outcome.version) == (Result.PROMOTED, "0001"), outcome
    assert registry.rollout().current == "0001"
    served = BoostedTrees(registry.path("0001") / ORDER)
    made = lists(seed=5)
    assert np.corrcoef(served(made.numbers), utility(made.numbers))[0, 1] > 0.8
    report = json.loads((registry.path("0001") / "report.json").read_text())
    figures = report["candidates"]["trees"]["lists_ndcg"]
    assert 0 < figures["low"] < figures["challenger"] - figures["current"] < figures["high"]
    assert report["importance"]["shopper_match"] > 0.1
    assert report["data"]["held_back_lists"] == pytest.approx(200, abs=60)


def test_later_trees_go_into_shadow_or_are_refused(tmp_path: Path) -> None:
    """They are compared with the current trees: trained on the same rule again they are refused, on a new one not."""
    train(tmp_path, RankingData(lists(), Examples.none(), "text@1", 0))
    again, registry = train(tmp_path, RankingData(lists(), Examples.none(), "text@1", 0))
    assert (again.result, registry.steps()[-1].kind) == (Result.REFUSED, StepKind.REFUSED)
    turned = RankingData(lists(seed=1, worth=-1.0), Examples.none(), "text@1", 0)
    outcome, _ = train(tmp_path, turned)
    assert outcome.result is Result.SHADOW, outcome
    assert (registry.rollout().current, registry.rollout().stage) == ("0001", Stage.SHADOW)
    assert train(tmp_path, turned)[0].result is Result.SKIPPED


def test_a_first_version_that_was_rolled_back_does_not_return_by_itself(tmp_path: Path) -> None:
    """The next night's version goes into shadow, although nothing serves."""
    data = RankingData(lists(), Examples.none(), "text@1", 0)
    _, registry = train(tmp_path, data)
    registry.take_step(StepKind.ROLLED_BACK, "0001", lambda now: now.rolled_back())
    assert train(tmp_path, data)[0].result is Result.SHADOW
    assert (registry.rollout().current, registry.rollout().stage) == ("", Stage.SHADOW)


def test_a_trial_that_began_meanwhile_is_left_alone(tmp_path: Path) -> None:
    """The learner has put a version into shadow while the trees were trained: these are published, and take no step."""
    registry = ModelRegistry(tmp_path / "models")

    def clock() -> float:
        """Asked when the training is over."""
        registry.publish(lambda folder: None, {})
        registry.take_step(StepKind.SHADOW, "0001", lambda now: now.with_shadow("0001"))
        return 0.0

    data, weights = RankingData(lists(), Examples.none(), "text@1", 0), dict.fromkeys(KINDS, GOOD)
    outcome = train_ranking(WorkFolder(tmp_path / "work"), data, registry, weights, SETTINGS, bar(), clock)
    assert (outcome.result, outcome.version) == (Result.SKIPPED, "0002")
    assert "ranking/0001 has gone on trial" in outcome.reason
    assert registry.rollout().other == "0001"


def test_the_weighted_sum_is_the_one_that_serves(tmp_path: Path) -> None:
    """Recommendations have the weights that were fitted with the shopper model, unless the shop sets some; a search has
    a part of the settings'.
    """
    shoppers = ModelRegistry(tmp_path)

    def write(folder: Path) -> None:
        (folder / "weights.json").write_text(json.dumps(asdict(GOOD)))

    shoppers.publish(write, {})
    shoppers.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001"))
    found = weights_by_kind(shoppers, WEIGHTS)
    assert (found["person"], found["product"]) == (GOOD, GOOD)
    assert found["search"] == replace(
        WEIGHTS.own, shopper=0.2 * WEIGHTS.own.shopper, neighbours=0.2 * WEIGHTS.own.neighbours
    )
    kept = weights_by_kind(shoppers, RankerSettings(weights=WeightSettings(shopper=0.5)).serving_weights)
    assert kept["person"] == replace(WEIGHTS.own, shopper=0.5)


def test_too_few_lists(tmp_path: Path) -> None:
    """The weighted sum serves on; the reason has what there is and what is needed."""
    outcome, registry = train(tmp_path, RankingData(lists(100), Examples.none(), "text@1", 12))
    assert outcome.result is Result.SKIPPED
    assert "100 lists with the next product of a person, needs 400" in outcome.reason
    assert "12 pages with a click, needs 500" in outcome.reason
    assert not registry.versions()


def test_trees_and_network_are_compared_on_pages(tmp_path: Path) -> None:
    """Both are judged on the same held-back pages; the better order is proposed, with its calibration error."""
    pages = shown_pages(1_200)
    data = RankingData(None, pages, "text@1", pages.clicked_pages)
    outcome, registry = train(tmp_path, data, WEIGHTS.own)
    report = json.loads((registry.path(outcome.version) / "report.json").read_text())
    ndcg = {name: of["ndcg"]["challenger"] for name, of in report["candidates"].items()}
    assert set(ndcg) == {"trees", "network"}
    manifest = json.loads((registry.path(outcome.version) / "manifest.json").read_text())
    assert manifest["kind"] == max(ndcg, key=lambda name: ndcg[name])
    assert outcome.result is Result.SHADOW, outcome
    errors = report["calibration_error"]
    assert max((errors.get("person") or errors).values()) < 0.05
