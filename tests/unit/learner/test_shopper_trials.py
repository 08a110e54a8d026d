"""The learner watches the trial of a shopper model, and removes item vectors that are out of use."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from services.common.gateway_access import GatewayAccessSettings
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Stage, StepKind
from services.learner.item_vectors import GRACE_S, ItemVectorKeeper
from services.learner.learner import Learner
from services.learner.metrics import LearnerMetrics
from services.learner.settings import LearnerSettings, TrainingSettings, TrialSettings
from services.learner.trials import Trials, TrialState
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.weights import ServingWeights, Weights
from tests.fakes.training_gateway import FakeTrainingGateway, ItemVectors
from tests.unit.learner.logs import Shop
from tests.unit.ranker.shopper_folders import write_version

WEIGHTS = ServingWeights(Weights(query=1.0, history=0.8, price=0.1, popularity=0.1, availability=0.5), 1.0)


def published(registry: ModelRegistry, count: int) -> None:
    for number in range(1, count + 1):
        registry.publish(lambda folder: None, {"created_s": 7.0, "model_version": f"shopper@{number}"})


def test_a_shopper_model_is_let_answer_step_by_step(tmp_path: Path) -> None:
    """Shadow, share and promotion follow from the counts of the trial and the outcomes of the persons of each arm."""
    store = SqliteProfileStore(tmp_path / "store")
    shop, folder = Shop(store), tmp_path / "models" / "default"
    registry = ModelRegistry(folder / "shopper", lambda: shop.now_s)
    published(registry, 2)
    registry.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001"))
    registry.take_step(StepKind.SHADOW, "0002", lambda now: now.with_shadow("0002"))
    settings = LearnerSettings(
        data_dir=tmp_path / "learner", training=TrainingSettings(window_s=60.0),
        trial=TrialSettings(shadow_requests=10, share=0.5, least_impressions=300, tolerance=0.5),
    )  # fmt: skip

    def started() -> Learner:
        metrics = LearnerMetrics()
        return Learner(store, ModelRegistry(folder), registry, WEIGHTS, settings, metrics, lambda: shop.now_s + 60)

    learner = started()
    learner.turn()
    assert registry.rollout().stage is Stage.SHADOW
    store.add_counts("default", registry.rollout().trial, {"shadow.requests": 10, "shadow.seconds": 0.01})
    learner.turn()
    assert registry.rollout().stage is Stage.SHARE
    learner.turn()
    shop.show(400)
    learner.turn()
    learner.turn()
    rollout = registry.rollout()
    assert (rollout.current, rollout.stage) == ("0002", Stage.HOLDBACK)
    # A new learner continues with the saved counts.
    learner.save()
    started().turn()
    assert registry.rollout() == rollout


def test_a_refused_version_leaves_its_trial(tmp_path: Path) -> None:
    """A version in shadow that its evaluation on the log refused meanwhile is rolled back in place of getting users."""
    registry = ModelRegistry(tmp_path / "models")
    published(registry, 1)
    registry.take_step(StepKind.SHADOW, "0001", lambda now: now.with_shadow("0001"))
    registry.take_step(StepKind.EVALUATED, "0001", reason="-9 % clicks", figures={"refused": True})
    counts = {"shadow.requests": 10.0, "shadow.seconds": 0.01}
    settings = TrialSettings(shadow_requests=10)
    trials = Trials(registry, lambda trial: counts, settings, LearnerMetrics(), TrialState())
    assert trials.watch() is StepKind.ROLLED_BACK
    assert (registry.rollout().other, registry.steps()[-1].version) == (None, "0001")
    assert "-9 % clicks" in registry.steps()[-1].reason


def test_item_vectors_out_of_use_are_removed(tmp_path: Path) -> None:
    """Those of versions that neither serve nor are the last one before go, after a grace; without a registry, none."""
    now_s = [0.0]
    registry = ModelRegistry(tmp_path / "shopper")
    held = {f"shopper@{number}": ItemVectors(4, is_complete=True) for number in (1, 2, 3)}
    gateway = FakeTrainingGateway([], np.zeros((0, 4), np.float32), item_vectors=held)  # type: ignore[abstract]
    with gateway.serving() as target:
        unused = ItemVectorKeeper(registry, GatewayAccessSettings(target=target), lambda: now_s[0])
        unused.look()
        published(registry, 3)
        for version in ("0001", "0002", "0003"):
            registry.take_step(StepKind.PROMOTED, version, lambda now, version=version: now.promoted(version))  # type: ignore[misc]
        unused.look()
        assert len(held) == 3
        now_s[0] += GRACE_S
        unused.look()
        assert sorted(held) == ["shopper@2", "shopper@3"]
        unused.close()


def test_item_vectors_are_stored_again_after_a_switch(tmp_path: Path) -> None:
    """A text version's step has made another collection live, which has none of the current shopper model."""
    shoppers, texts = ModelRegistry(tmp_path / "shopper"), ModelRegistry(tmp_path / "text")
    name = write_version(tmp_path, {"lamp": (1, 2), "desk": (3, 4)}, vector_version="text@0")
    files = [path for path in tmp_path.iterdir() if path.is_file()]

    def save(folder: Path) -> None:
        for path in files:
            (folder / path.name).write_bytes(path.read_bytes())

    version = shoppers.publish(save, {"created_s": 7.0, "model_version": name})
    shoppers.take_step(StepKind.PROMOTED, version, lambda now: now.promoted(version))
    gateway = FakeTrainingGateway([], np.zeros((0, 4), np.float32))  # type: ignore[abstract]
    with gateway.serving() as target:
        keeper = ItemVectorKeeper(shoppers, GatewayAccessSettings(target=target), texts=texts)
        for number in range(2):
            texts.publish(lambda folder: None, {})
            texts.take_step(StepKind.PROMOTED, f"{number + 1:04}", lambda now, n=number: now.promoted(f"{n + 1:04}"))  # type: ignore[misc]
            gateway.item_vectors.clear()
            keeper.look()
            held = gateway.item_vectors[name]
            assert held.is_complete
            assert {item_id: row.tolist() for item_id, row in held.vectors.items()} == {"lamp": [1, 2], "desk": [3, 4]}
        # Nothing has changed: nothing is asked.
        gateway.item_vectors.clear()
        keeper.look()
        keeper.close()
    assert not gateway.item_vectors


def test_a_gateway_that_is_down_stops_no_learning(tmp_path: Path) -> None:
    """A look that cannot be taken is taken later."""
    registry = ModelRegistry(tmp_path / "shopper")
    published(registry, 1)
    registry.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001"))
    unused = ItemVectorKeeper(registry, GatewayAccessSettings(target="127.0.0.1:1", timeout_s=0.2))
    unused.look()
    unused.close()


def test_nothing_is_trained_without_clicks(tmp_path: Path) -> None:
    """With fewer pages with a click than the setting, there is no working copy, and torch is not needed."""
    store = SqliteProfileStore(tmp_path / "store")
    shop, metrics = Shop(store), LearnerMetrics()
    settings = LearnerSettings(
        data_dir=tmp_path / "learner", training=TrainingSettings(window_s=60.0, least_pages=20, least_clicked=10_000)
    )
    registry = ModelRegistry(tmp_path / "models" / "default")
    shoppers = ModelRegistry(registry.folder / "shopper")
    learner = Learner(store, registry, shoppers, WEIGHTS, settings, metrics, lambda: shop.now_s + 60)
    shop.show(100)
    learner.turn()
    learner.save()
    assert metrics.registry.get_sample_value("kairos_learner_updates_total") == 0
