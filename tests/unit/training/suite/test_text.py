"""The text model from the log of a shop: from imported lists and clicks to a version that the services can load."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kairos.common.v1 import event_pb2, product_pb2
from services.common.models.rollout import Stage, StepKind
from services.common.models.text_version import read_text_version
from services.query_encoder.adapters.torch_encoder import TorchEncoder
from services.retrieval.adapters.fusion_model import load_fusion
from tests.fakes.training_gateway import FakeTrainingGateway
from tests.unit.training.search_shop import COLOURS, THINGS, tiny_bert
from tests.unit.training.suite.shop import NOW_S, SETTINGS, bar, suite
from training.search.settings import EncoderTraining, FusionTraining, SearchTraining
from training.suite.outcome import Outcome, Result
from training.suite.run import Suite, run
from training.suite.settings import Least, SuiteTraining
from training.suite.work import WorkFolder

QUICK = SearchTraining(EncoderTraining(epochs=30, batch=8, hard_negatives=4, learning_rate=5e-3), FusionTraining())
TEXT = replace(SETTINGS, least=Least(queries=20), text=QUICK)


@pytest.fixture
def settings_of_the_shop(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The shop serves an encoder that knows its words and nothing else."""
    monkeypatch.setenv("KAIROS_QUERY_ENCODER_MODEL_DIR", str(tiny_bert(tmp_path / "base")))
    monkeypatch.setenv("KAIROS_QUERY_ENCODER_BACKEND", "torch")


def searched(number: int, query: str, shown: list[str], clicked: str) -> list[event_pb2.Event]:
    """The events of an imported search: a list in its order, and a click."""
    made = []
    for place, (item_id, kind) in enumerate(
        [*((id, event_pb2.EVENT_TYPE_IMPRESSION) for id in shown), (clicked, event_pb2.EVENT_TYPE_CLICK)]
    ):
        event = event_pb2.Event(
            event_id=f"{number}-{place}", visitor_id=f"v{number}", session_id=f"s{number}", item_id=item_id, type=kind,
            query=query if kind == event_pb2.EVENT_TYPE_IMPRESSION else "",
        )  # fmt: skip
        event.occurred_at.FromSeconds(int(NOW_S - 3_600 * 48 + number + (place >= len(shown))))
        made.append(event)
    return made


def shop(searches: int = 12) -> FakeTrainingGateway:
    """For each colour and thing: shoppers who type "red shoelike" see six products, and click the red shoe."""
    random, events = np.random.default_rng(0), []
    ids = [f"{colour}-{thing}" for colour in COLOURS for thing in THINGS]
    for number in range(searches * len(ids)):
        wanted = ids[number % len(ids)]
        colour, _, thing = wanted.partition("-")
        others = random.choice([id for id in ids if id != wanted], 5, replace=False).tolist()
        shown = random.permutation([wanted, *others]).tolist()
        events += searched(number, f"{colour} {thing}like", shown, wanted)
    products = [product_pb2.Product(id=id, title=id.replace("-", " ")) for id in ids]
    return FakeTrainingGateway(products, np.eye(len(ids), 8, dtype=np.float32), events)  # type: ignore[abstract]


def trained(of: Suite, folder: Path, settings: SuiteTraining = TEXT) -> Outcome:
    (outcome,) = run(of, WorkFolder(folder), settings, bar(), ["text"], lambda: NOW_S)
    return outcome


@pytest.mark.usefixtures("settings_of_the_shop")
def test_a_version_from_clicks(tmp_path: Path) -> None:
    """It is better on queries that it never saw, loads as the services load it, and is proposed; nothing else is
    trained while it is on trial."""
    with shop().serving() as target:
        of = suite(target, tmp_path / "models")
        outcome = trained(of, tmp_path / "work")
        again = trained(of, tmp_path / "work")
        # The version before stays in use after a promotion; it is on no trial.
        of.texts.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001", keep=True))
        later = trained(of, tmp_path / "work")
    assert (outcome.result, outcome.version) == (Result.SHADOW, "0001"), outcome
    assert (again.result, "0001 is on trial" in again.reason) == (Result.SKIPPED, True)
    assert later.result is Result.REFUSED, later
    assert outcome.figures["dcg@10"] > 1.5 * outcome.figures["dcg@10 of current"]
    folder = of.texts.path("0001")
    assert folder == tmp_path / "models" / "default" / "text" / "0001"
    version = read_text_version(folder)
    assert version.name == outcome.model_version
    assert (version.alpha, version.beta, version.fusion) == (1.0, 0.15, True)
    load_fusion(folder / "fusion")
    encoder = TorchEncoder(folder / "encoder", version.name)
    query, right, wrong = encoder.encode(["red shoelike", "red shoe", "blue lamp"], 16, "query")
    assert query @ right > query @ wrong
    report = json.loads((folder / "report.json").read_text())
    assert sum(report["data"]["queries"].values()) == 36
    assert report["verdict"]["passed"] is True
    rollout = of.texts.rollout()
    assert (rollout.current, rollout.other, rollout.stage) == ("0001", "", Stage.HOLDBACK)
    kinds = [StepKind.PROPOSED, StepKind.SHADOW, StepKind.PROMOTED, StepKind.PROPOSED, StepKind.REFUSED]
    assert [step.kind for step in of.texts.steps()] == kinds


@pytest.mark.usefixtures("settings_of_the_shop")
def test_a_version_that_is_not_better_is_refused(tmp_path: Path) -> None:
    """An encoder that learns nothing is published for its report, and logged as refused. What a run with other settings
    left when it was interrupted is not taken for it.
    """
    still = SearchTraining(replace(QUICK.encoder, epochs=1, learning_rate=0.0), FusionTraining(epochs=0))
    interrupted = replace(QUICK, fusion=FusionTraining(queries_per_step=0))
    with shop().serving() as target:
        of = suite(target, tmp_path / "models")
        with pytest.raises(ValueError, match="must not be zero"):
            trained(of, tmp_path / "work", replace(TEXT, text=interrupted))
        outcome = trained(of, tmp_path / "work", replace(TEXT, text=still))
    assert (outcome.result, outcome.version) == (Result.REFUSED, "0001"), outcome
    assert [step.kind for step in of.texts.steps()] == [StepKind.PROPOSED, StepKind.REFUSED]
    assert of.texts.rollout().other is None


def test_too_few_queries_are_reported(tmp_path: Path) -> None:
    """The reason has what there is and what is needed, and nothing is published."""
    with shop(searches=0).serving() as target:
        of = suite(target, tmp_path / "models")
        outcome = trained(of, tmp_path / "work")
    assert (outcome.result, outcome.reason) == (Result.SKIPPED, "0 queries with a click, needs 20")
    assert of.texts.versions() == []
