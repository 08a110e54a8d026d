"""A run of `kairos train` from the suite to a version that serves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from services.common.models.rollout import Stage, StepKind
from services.ranker.adapters.shopper_version import ShopperVersion
from services.ranker.domain.person import person_key
from tests.unit.training.suite.shop import ITEMS, NOW_S, PERSONS, SETTINGS, bar, events, gateway, suite
from training.ranking.split import is_held_back
from training.suite.cases import held_back_share
from training.suite.outcome import Outcome, Result
from training.suite.run import Suite, run
from training.suite.settings import SuiteTraining
from training.suite.work import WorkFolder


def trained(of: Suite, folder: Path, now_s: float = NOW_S) -> Outcome:
    (outcome,) = run(of, WorkFolder(folder), SETTINGS, bar(), ["shopper"], lambda: now_s)
    return outcome


def test_the_first_version_serves_at_once(tmp_path: Path) -> None:
    """It is better than popularity, its item vectors are complete, and it can be loaded."""
    shop = gateway()
    with shop.serving() as target:
        of = suite(target, tmp_path / "models")
        outcome = trained(of, tmp_path / "work")
    assert (outcome.result, outcome.version) == (Result.PROMOTED, "0001"), outcome
    assert of.shoppers.rollout().current == "0001"
    version = ShopperVersion(of.shoppers.path("0001"))
    held = shop.item_vectors[version.name]
    assert held.is_complete
    assert set(held.vectors) == {f"p{item}" for item in range(ITEMS)}
    assert of.shoppers.manifest("0001")["model_version"] == version.name
    assert outcome.figures["ndcg@10"] > 1.5 * outcome.figures["ndcg@10 of popularity"]
    assert [path.name for path in (tmp_path / "work").iterdir()] == [".lock"]


def test_a_later_version_goes_into_shadow(tmp_path: Path) -> None:
    """It is compared with the current version on newer events; while it is on trial, nothing is trained."""
    shop = gateway()
    with shop.serving() as target:
        of = suite(target, tmp_path / "models")
        trained(of, tmp_path / "work")
        later_s = NOW_S + 7 * 86_400
        shop.events += events(until_s=later_s, first=10_000)
        outcome = trained(of, tmp_path / "work", later_s)
        assert (outcome.result, outcome.version) == (Result.SHADOW, "0002"), outcome
        rollout = of.shoppers.rollout()
        assert (rollout.current, rollout.other, rollout.stage) == ("0001", "0002", Stage.SHADOW)
        assert all(held.is_complete for held in shop.item_vectors.values())
        assert len(shop.item_vectors) == 2
        again = trained(of, tmp_path / "work", later_s)
        assert again.result is Result.SKIPPED
        assert "0002 is on trial" in again.reason


def test_a_worse_version_is_refused(tmp_path: Path) -> None:
    """Trained on tastes that the held-back persons do not share, a version is published for its report, and refused."""
    shop = gateway()
    with shop.serving() as target:
        of = suite(target, tmp_path / "models")
        trained(of, tmp_path / "work")
        later_s, share = NOW_S + 7 * 86_400, held_back_share(PERSONS)
        forward, backward = (events(until_s=later_s, first=20_000, step=step) for step in (1, -1))
        shop.events = [
            one if is_held_back(person_key(one.user_id, ""), share) else other
            for one, other in zip(forward, backward, strict=True)
        ]
        outcome = trained(of, tmp_path / "work", later_s)
    assert (outcome.result, outcome.version) == (Result.REFUSED, "0002"), outcome
    assert of.shoppers.steps()[-1].kind is StepKind.REFUSED
    assert (of.shoppers.rollout().current, of.shoppers.rollout().other) == ("0001", None)
    assert len(shop.item_vectors) == 1


def test_an_interrupted_run_continues_with_its_own_settings_only(tmp_path: Path) -> None:
    """With others, fit, lists and version begin anew; what was read is kept."""
    shop = gateway()

    def fails(name: str) -> None:
        if name == "StoreItemVectors":
            raise RuntimeError

    with shop.serving() as target:
        of, work = suite(target, tmp_path / "models"), WorkFolder(tmp_path / "work")

        def interrupted(seed: int) -> set[Path]:
            """The versions in the work folder."""
            shop.before = fails
            with pytest.raises(grpc.RpcError):
                run(of, work, seeded(seed), bar(), ["shopper"], lambda: NOW_S)
            return set(work.folder.rglob("model.json"))

        first = interrupted(1)
        assert len(first) == 1
        written = [path.stat().st_mtime_ns for path in first]
        assert interrupted(1) == first
        assert [path.stat().st_mtime_ns for path in first] == written
        shop.before = None
        (outcome,) = run(of, work, seeded(2), bar(), ["shopper"], lambda: NOW_S)
    assert of.shoppers.manifest(outcome.version)["settings"]["seed"] == 2
    assert shop.called.count("ListProducts") == 1


@pytest.mark.parametrize("is_with_shopper", [True, False])
def test_trees_name_the_shopper_model_of_their_lists(tmp_path: Path, is_with_shopper: bool) -> None:
    """The version that the same run published; none where the ranking stage is trained alone, with a fit of its own."""
    shop = gateway()
    with shop.serving() as target:
        of, work = suite(target, tmp_path / "models"), WorkFolder(tmp_path / "work")
        least = replace(SETTINGS, least=replace(SETTINGS.least, lists=20))
        for kinds in (["shopper", "ranking"],) if is_with_shopper else (["shopper"], ["ranking"]):
            outcome = run(of, work, least, bar(), kinds, lambda: NOW_S)[-1]
    assert of.rankers.manifest(outcome.version)["trees"]["shopper_version"] == ("0001" if is_with_shopper else "")


def seeded(seed: int) -> SuiteTraining:
    return replace(SETTINGS, seed=seed, shopper=replace(SETTINGS.shopper, seed=seed))


@pytest.mark.parametrize("persons", [0, 3])
def test_too_few_data_are_reported(tmp_path: Path, persons: int) -> None:
    """Nothing is published, and the reason has what there is and what is needed."""
    shop = gateway(persons)
    with shop.serving() as target:
        of = suite(target, tmp_path / "models")
        outcomes = run(of, WorkFolder(tmp_path / "work"), SETTINGS, bar(), clock=lambda: NOW_S)
    assert [outcome.result for outcome in outcomes] == [Result.SKIPPED] * 2
    assert f"{persons} persons who acted on two products, needs 20" in outcomes[0].reason
    assert outcomes[1].reason == "no shopper model serves, whose scores lists hold; or 0 pages with a click, needs 30"
    assert of.shoppers.versions() == []


def test_what_nothing_can_judge_is_not_trained(tmp_path: Path) -> None:
    """With too few events of held-back persons, training is left out instead of its result being refused."""
    shop = gateway(40)
    with shop.serving() as target:
        of = suite(target, tmp_path / "models")
        outcome = trained(of, tmp_path / "work")
    assert outcome.result is Result.SKIPPED
    assert "events of held-back persons on products, needs 20" in outcome.reason
    assert of.shoppers.versions() == []
