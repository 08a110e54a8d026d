"""A learner on a real log (SQLite) and a registry in a folder; its clock is the log's."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout, Stage, StepKind
from services.learner.drift import CLICKS, LOSS
from services.learner.learner import LOG, Learner
from services.learner.metrics import LearnerMetrics
from services.learner.settings import (
    DriftSettings,
    GuardrailSettings,
    LearnerSettings,
    MetricsSettings,
    TrainingSettings,
    TrialSettings,
)
from services.learner.state import StateFolder
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.weights import ServingWeights, Weights
from services.ranker.ports import LogBound, Retention
from tests.unit.learner.logs import DIMENSIONS, STEP_S, VERSION, Shop
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings
from training.ranking.split import is_held_back

# When a version was made, for the tests that bring one.
MADE_S = 7.0
# What a shop that retrieval serves badly would say: the guardrail's opponent must be beatable by a small network.
WINDOW_S = 60.0
BLIND = ServingWeights(Weights(query=0.0, history=0.8, price=0.1, popularity=0.1, availability=0.5), 1.0)


@dataclass
class Workplace:
    """A shop, its log, its registry, and learners that come and go."""

    folder: Path

    def __post_init__(self) -> None:
        self.store = SqliteProfileStore(self.folder / "store")
        self.shop, self.registry = Shop(self.store), ModelRegistry(self.folder / "models" / "default")
        self.metrics = LearnerMetrics()

    def learner(
        self, pages: int = 100_000, drift: float = 0.0, checkpoint_s: float = 1e9, epochs: int = 1,
        at_once: int = 2_000,
    ) -> Learner:  # fmt: skip
        settings = LearnerSettings(
            data_dir=self.folder / "learner",
            training=TrainingSettings(
                window_s=WINDOW_S,
                least_pages=50,
                least_clicked=0,
                most_pages=at_once,
                recent=400,
                reservoir=400,
                checkpoint_s=checkpoint_s,
                epochs=epochs,
            ),
            drift=DriftSettings(delta=drift),
            guardrail=GuardrailSettings(pages=pages, least_held=60, resamples=200),
            trial=TrialSettings(shadow_requests=10, share=0.5, least_impressions=300, tolerance=0.5),
        )
        shoppers = ModelRegistry(self.registry.folder / "shopper")
        return Learner(self.store, self.registry, shoppers, BLIND, settings, self.metrics, self.now_s)

    def now_s(self) -> float:
        return self.shop.now_s + WINDOW_S

    def metric(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"kairos_learner_{name}", labels)

    def live(self) -> dict[str, float]:
        """When the current version was made, as it is exported."""
        (family,) = self.metrics.live_version_made.collect()
        return {sample.labels["version"]: sample.value for sample in family.samples}

    def journal(self) -> list[dict[str, Any]]:
        return StateFolder(self.folder / "learner").journal()

    def committed(self) -> int:
        return self.store.committed("default", "learner").get(LOG, 0)

    def steps(self) -> list[StepKind]:
        return [step.kind for step in self.registry.steps()]

    def taken(self) -> list[dict[str, Any]]:
        return [entry for line in self.journal() for entry in line["taken"]]


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


def test_new_pages_are_tested_before_training(place: Workplace) -> None:
    """The log loss of new pages falls with training, and each page is tested before it is trained on."""
    learner = place.learner()
    for _ in range(5):
        place.shop.show(80)
        learner.turn()
    learner.save()
    losses = [entry["log_loss"] for entry in place.taken() if "log_loss" in entry]
    assert len(losses) == 4
    assert losses[-1] < losses[0] - 0.05


def test_pages_that_retention_removed_are_reported(place: Workplace) -> None:
    """A learner goes on behind a trim, and counts the pages that it never saw."""
    learner = place.learner()
    place.shop.show(80)
    learner.turn()
    learner.save()
    place.shop.show(100)
    kept = LogBound(1e12, 60)
    assert sum(place.store.trim(Retention(LogBound(1e12, 10**9), kept, kept), place.now_s())) == 120
    again = place.learner()
    again.turn()
    again.save()
    assert place.committed() == 180
    assert place.metric("missed_pages_total") == 40
    assert place.metric("pages_total") == 80 + 60


def test_outcomes_are_waited_for(place: Workplace) -> None:
    """A page whose window is not over yet is left in the log."""
    learner = place.learner()
    place.shop.show(100)
    place.shop.now_s -= 10 * STEP_S
    learner.turn()
    learner.save()
    assert place.committed() == 90


def test_it_goes_on_where_it_stopped(place: Workplace) -> None:
    """After a kill what was not written down is taken again, nothing is left out, and the buffers are as they were."""
    place.shop.show(100)
    place.learner(checkpoint_s=0).turn()
    place.shop.show(100)
    killed = place.learner()
    killed.turn()
    assert place.committed() == 100
    survivor = place.learner(checkpoint_s=0)
    place.shop.show(100)
    survivor.turn()
    assert [(line["from"], line["to"]) for line in place.journal()] == [(0, 100), (100, 300)]
    assert place.committed() == 300
    state, _ = StateFolder(place.folder / "learner").load() or (None, None)
    assert state is not None
    assert sorted([*state.replay, *state.held]) == list(range(1, 301))


def test_who_judges_is_not_trained_on(place: Workplace) -> None:
    """No page of a person whom `kairos train` holds back is trained on, nor one that an earlier learner trained on."""
    place.shop.show(200)
    place.learner(checkpoint_s=0).turn()
    folder = StateFolder(place.folder / "learner")
    state, working = folder.load() or (None, None)
    assert state is not None
    persons = {position: page.person for position, page in place.store.impressions_after("default", 0, 999)}
    judges = {position for position, person in persons.items() if is_held_back(person)}
    assert judges
    assert judges <= set(state.held)
    state.replay, state.held = sorted({*state.replay, *state.held}), []
    folder.save(state, working)
    place.learner().save()
    state, _ = folder.load() or (None, None)
    assert state is not None
    assert judges <= set(state.held)
    assert not judges & set(state.replay)


def test_a_lost_folder(place: Workplace) -> None:
    """Without its folder a learner goes on from the position that the log keeps for it."""
    place.shop.show(100)
    place.learner(checkpoint_s=0).turn()
    (place.folder / "learner").rename(place.folder / "lost")
    place.shop.show(60)
    place.learner(checkpoint_s=0).turn()
    assert [(line["from"], line["to"]) for line in place.journal()] == [(100, 160)]


def positions_of(place: Workplace, user: str) -> set[int]:
    return {position for position, _ in place.store.impressions_after("default", 0, 999, user)}


def test_deleted_users_are_not_trained_on(place: Workplace) -> None:
    """After a deletion no page of the user is in a buffer; what they do later counts."""
    learner = place.learner()
    place.shop.show(200, users=10)
    learner.turn()
    gone = positions_of(place, "user:u3")
    place.store.delete_person("default", "user:u3")
    place.shop.show(60, users=4)
    learner.turn()
    learner.save()
    state, _ = StateFolder(place.folder / "learner").load() or (None, None)
    assert state is not None
    assert gone
    assert not gone & {*state.replay, *state.held}
    back = positions_of(place, "user:u3")
    # A deletion holds for what happened before it: the log's clock is ahead of ours, so these came in afterwards.
    assert back
    assert back <= {*state.replay, *state.held}


def test_a_better_version_goes_into_shadow(place: Workplace) -> None:
    """After enough new pages a version is proposed, beats what answers on what was held back, and is in shadow."""
    learner = place.learner(pages=250, epochs=4)
    for _ in range(2):
        place.shop.show(260)
        learner.turn()
    assert place.steps() == [StepKind.PROPOSED, StepKind.SHADOW]
    proposed = place.registry.steps()[0]
    assert proposed.reason == "new pages"
    assert proposed.figures["log_loss"]["high"] < 0  # type: ignore[index]
    rollout = place.registry.rollout()
    assert (rollout.current, rollout.other, rollout.stage) == ("", "0001", Stage.SHADOW)
    assert set(place.registry.manifest("0001")["metrics"]) == {"log_loss", "auc", "ndcg"}
    assert [place.metric("steps_total", step=step) for step in ("proposed", "shadow", "refused")] == [1, 1, 0]


def test_a_version_that_is_no_better_is_refused(place: Workplace) -> None:
    """Where there is nothing to learn the proposal is refused: the log has its figures, and nothing changes."""
    learner = place.learner(pages=200)
    for _ in range(2):
        place.shop.show(200, sign=0.0)
        learner.turn()
    assert place.steps() == [StepKind.PROPOSED, StepKind.REFUSED]
    refused = place.registry.steps()[-1]
    assert refused.reason.startswith("log_loss is")
    assert refused.figures["log_loss"]
    assert place.registry.rollout() == Rollout()


def on_trial(place: Workplace, take: Callable[[Rollout], Rollout]) -> Learner:
    """A learner that meets version 0001 on trial."""
    ranker = LearnableRanker(NetworkSettings(DIMENSIONS), vector_version=VERSION)
    place.registry.publish(ranker.save, {"created_s": MADE_S})
    place.registry.take_step(StepKind.SHARE, "0001", take)
    learner = place.learner()
    learner.turn()
    return learner


def worse(place: Workplace) -> Callable[[str], float]:
    """Those who are answered by version 0001 click less."""
    rollout = place.registry.rollout()
    return lambda user: -2.0 if rollout.version_for("default", user) == "0001" else 0.0


def test_shadow_share_promotion(place: Workplace) -> None:
    """From shadow to a share of the users to the promotion, each step when its figures allow it."""
    learner = on_trial(place, lambda now: now.with_shadow("0001"))
    assert place.registry.rollout().stage is Stage.SHADOW
    place.store.add_counts("default", place.registry.rollout().trial, {"shadow.requests": 10, "shadow.seconds": 0.01})
    learner.turn()
    assert place.registry.rollout().stage is Stage.SHARE
    learner.turn()
    place.shop.show(300)
    learner.turn()
    learner.turn()
    rollout = place.registry.rollout()
    assert (rollout.current, rollout.other, rollout.stage) == ("0001", "", Stage.HOLDBACK)
    assert [step.reason for step in place.registry.steps()[1:]] == ["no harm in shadow", "the click rate held"]
    assert place.live() == {"0001": MADE_S}


def test_a_version_that_is_clicked_less_goes_back(place: Workplace) -> None:
    """When the share's click rate falls the challenger is taken away by itself, and the log says how far it fell.

    All pages of its persons count, also those that the weighted sum has ordered for it.
    """
    learner = on_trial(place, lambda now: now.with_share("0001", 0.5))
    place.shop.show(240, bias=worse(place))
    learner.turn()
    learner.turn()
    step = place.registry.steps()[-1]
    assert (step.kind, step.version, step.reason) == (StepKind.ROLLED_BACK, "0001", "click rate fell")
    assert step.figures["click"]["high"] < 0  # type: ignore[index]
    assert place.registry.rollout() == Rollout(since_s=place.registry.rollout().since_s)


def test_a_promoted_version_that_is_clicked_less_goes_back(place: Workplace) -> None:
    """After a promotion the users that were held back show the fall, and the version before answers everybody again."""
    learner = on_trial(place, lambda now: now.promoted("0001", holdback=0.5))
    place.shop.show(240, bias=worse(place))
    learner.turn()
    learner.turn()
    assert place.registry.steps()[-1].kind is StepKind.ROLLED_BACK
    assert (place.registry.rollout().current, place.registry.rollout().other) == ("", None)
    assert place.live() == {}
    assert place.metric("steps_total", step="rolled back") == 1


def test_drift_makes_a_proposal(place: Workplace) -> None:
    """When the shoppers change, drift is found in the log loss and a version is proposed because of it."""
    learner = place.learner(drift=0.002)
    for _ in range(3):
        place.shop.show(120)
        learner.turn()
    assert place.steps() == []
    for _ in range(2):
        place.shop.show(120, sign=-1.0)
        learner.turn()
    proposed = place.registry.steps()[0]
    assert proposed.kind is StepKind.PROPOSED
    assert proposed.reason.startswith("drift of")
    assert "log_loss" in proposed.reason


def test_drift_is_exported_with_both_means(place: Workplace) -> None:
    """When shoppers click less, the drift of the click rate is counted, and the means before and since are exported."""
    learner = place.learner(drift=0.002)
    for _ in range(2):
        place.shop.show(150)
        learner.turn()
    assert place.metric("drifts_total", measure=CLICKS) == 0
    usual = place.metric("window_mean", measure=CLICKS, window="now")
    assert usual is not None
    assert place.metric("window_mean", measure=CLICKS, window="before") is None
    place.shop.show(300, bias=lambda user: -6.0)
    learner.turn()
    assert place.metric("drifts_total", measure=CLICKS) == 1
    assert place.metric("window_mean", measure=CLICKS, window="before") == pytest.approx(usual, abs=0.02)
    assert (place.metric("window_mean", measure=CLICKS, window="now") or 1.0) < 0.5 * usual
    assert (place.metric("window_mean", measure=LOSS, window="now") or 0.0) > 0


def test_how_far_it_is_behind(place: Workplace) -> None:
    """The metric is the time up to which the log is trained on and saved, without pages that are only taken or due."""
    place.shop.show(100)
    place.learner().turn()
    assert place.metric("pages_total") == 100
    assert place.metric("learned_up_to_timestamp_seconds") == 0
    learner = place.learner(checkpoint_s=0, at_once=40)
    behind = []
    for _ in range(3):
        learner.turn()
        behind.append(place.now_s() - (place.metric("learned_up_to_timestamp_seconds") or 0.0))
    assert behind == [59 * STEP_S, 19 * STEP_S, 0.0]


def test_two_learners_do_not_share_a_port() -> None:
    """The second one is refused with the name of the setting."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ValueError, match="KAIROS_LEARNER_METRICS__PORT"),
    ):
        LearnerMetrics().serve(MetricsSettings(port=taken.getsockname()[1]))


def test_two_learners_do_not_share_a_folder(place: Workplace) -> None:
    """The second one is refused with the advice to use a folder of its own."""
    folder = StateFolder(place.folder / "learner")
    with folder.alone(), pytest.raises(ValueError, match="give this one a data_dir"), folder.alone():
        pass
