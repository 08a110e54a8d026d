"""The learner watches the trial of a text version: clicks per item of the searches of each arm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Stage, StepKind
from services.common.models.text_version import TextVersion, shopper_of, write_text_version
from services.learner.learner import Learner
from services.learner.metrics import LearnerMetrics
from services.learner.settings import LearnerSettings, TrainingSettings, TrialSettings
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from tests.unit.learner.logs import Shop
from tests.unit.learner.test_shopper_trials import WEIGHTS

ONE, TWO = "text@aaaaaaaaaaaa", "text@bbbbbbbbbbbb"


@dataclass
class FakeCollections:
    """Can be switched to every model but those that are `incomplete`."""

    switched: list[str] = field(default_factory=list)
    incomplete: tuple[str, ...] = ()
    counts: dict[str, dict[str, float]] = field(default_factory=dict)

    def switch(self, model_version: str) -> None:
        if model_version in self.incomplete:
            raise ValueError("no collection has all products")
        self.switched.append(model_version)

    def shadow_counts(self, trial: str) -> dict[str, float]:
        return self.counts.get(trial, {})


class Place:
    """A shop whose text version 0001 serves, while 0002 answers half of the shoppers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store = folder, SqliteProfileStore(folder / "store")
        self.shop, self.collections = Shop(self.store), FakeCollections()
        self.texts = ModelRegistry(folder / "models" / "default" / "text", lambda: self.shop.now_s)
        for name in (ONE, TWO):

            def save(version: Path, name: str = name) -> None:
                write_text_version(TextVersion(name, 1.0, 0.1, fusion=False), version)

            self.texts.publish(save, {"created_s": 7.0})
        self.texts.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001"))
        self.texts.take_step(StepKind.SHARE, "0002", lambda now: now.with_share("0002", 0.5))

    def learner(self) -> Learner:
        settings = LearnerSettings(
            data_dir=self.folder / "learner", training=TrainingSettings(window_s=60.0),
            trial=TrialSettings(shadow_requests=10, share=0.5, least_impressions=300, tolerance=0.5),
        )  # fmt: skip
        models = ModelRegistry(self.folder / "models" / "default")
        return Learner(
            self.store, models, ModelRegistry(models.folder / "shopper"), WEIGHTS, settings, LearnerMetrics(),
            lambda: self.shop.now_s + 60, texts=self.texts, collections=self.collections,
        )  # fmt: skip

    def is_of_challenger(self, user: str) -> bool:
        return self.texts.rollout().version_for("default", shopper_of(user, "")) == "0002"

    def show(self, pages: int, worse: float = 0.0, query: str = "boots") -> None:
        """The features have vectors of the arm's model; clicks of the challenger's are fewer by `worse`."""
        self.shop.show(
            pages, bias=lambda user: -worse if self.is_of_challenger(user) else 0.0, query=query,
            vector_version=lambda user: TWO if self.is_of_challenger(user) else ONE,
        )  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def looks(learner: Learner, show: Callable[[], None]) -> None:
    """The trial is known from the first look on; pages that are counted in one decide in the next."""
    learner.turn()
    show()
    learner.turn()
    learner.turn()


def test_a_text_version_is_promoted_with_its_collection(place: Place) -> None:
    """By the clicks on the searches of its arm, with vectors of another model. The version before stays in use."""
    learner = place.learner()
    looks(learner, lambda: place.show(400))
    assert place.collections.switched == [TWO]
    rollout = place.texts.rollout()
    assert (rollout.current, rollout.other, rollout.stage, rollout.share) == ("0002", "0001", Stage.HOLDBACK, 0)
    # It stays so: a rollback is taken by hand.
    looks(learner, lambda: place.show(100))
    assert place.texts.rollout() == rollout


def test_a_text_version_that_is_clicked_less_goes_back(place: Place) -> None:
    """The pointer alone changes: the live collection is still that of the version before."""
    looks(place.learner(), lambda: place.show(400, worse=3.0))
    assert place.collections.switched == []
    assert (place.texts.rollout().current, place.texts.rollout().other) == ("0001", None)
    step = place.texts.steps()[-1]
    assert (step.kind, step.version, step.reason) == (StepKind.ROLLED_BACK, "0002", "click rate fell")


def test_a_collection_that_cannot_be_switched_delays_the_promotion(place: Place) -> None:
    """The share goes on; the counts are kept over a restart, and the next look tries again."""

    place.collections.incomplete = (TWO,)
    learner = place.learner()
    looks(learner, lambda: place.show(400))
    assert place.texts.rollout().stage is Stage.SHARE
    learner.save()
    place.collections.incomplete = ()
    place.learner().turn()
    assert place.texts.rollout().current == "0002"


def test_pages_without_a_query_say_nothing_of_a_text_version(place: Place) -> None:
    """It answers no recommendations."""
    looks(place.learner(), lambda: place.show(400, worse=3.0, query=""))
    assert place.texts.rollout().stage is Stage.SHARE


def test_searches_in_shadow_lead_to_a_share(place: Place) -> None:
    """As retrieval counts them for this trial; errors end it."""
    for counts, stage in (
        ({"shadow.requests": 10.0}, Stage.SHARE),
        ({"shadow.requests": 5.0, "shadow.errors": 5.0}, None),
    ):
        place.texts.take_step(StepKind.ROLLED_BACK, "0002", lambda now: now.alone())
        place.texts.take_step(StepKind.SHADOW, "0002", lambda now: now.with_shadow("0002"))
        learner = place.learner()
        learner.turn()
        assert place.texts.rollout().stage is Stage.SHADOW
        place.collections.counts = {place.texts.rollout().trial: counts}
        learner.turn()
        assert place.texts.rollout().stage is stage
        place.shop.now_s += 60
