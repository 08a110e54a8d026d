"""`kairos evaluate` on an exported log."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from typer.testing import CliRunner, Result

from cli.main import app
from kairos.common.v1 import event_pb2

START_S, DAY_S = 1_790_000_000, 86_400


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 visitors of an experiment with a holdout. Who clicked before buys more with recommendations."""
    path, random = tmp_path_factory.mktemp("log") / "log.jsonl.gz", Random(0)
    lines = []
    for number in range(400):
        visitor, is_treated, is_keen = f"v{number}", number % 2, number % 4 < 2
        shown = event_pb2.Impressions(ranking_id=f"r{number}", visitor_id=visitor, item_ids=["lamp"], positions=[1])
        shown.shown_at.FromSeconds(START_S + number)
        shown.experiment_arms.add(experiment="holdout", arm="personal" if is_treated else "popular")
        lines.append({"kind": "impressions", "record": MessageToDict(shown, preserving_proto_field_name=True)})
        events = [(event_pb2.EVENT_TYPE_CLICK, -DAY_S)] * is_keen
        if random.random() < (0.8 if is_treated and is_keen else 0.2):
            events.append((event_pb2.EVENT_TYPE_PURCHASE, DAY_S))
        for kind, after_s in events:
            event = event_pb2.Event(event_id=f"{visitor}{kind}", visitor_id=visitor, item_id="lamp", type=kind)
            event.occurred_at.FromSeconds(START_S + number + after_s)
            lines.append({"kind": "events", "record": MessageToDict(event, preserving_proto_field_name=True)})
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def evaluate(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["evaluate", *arguments, "--data-dir", str(folder)], catch_exceptions=False)


def document(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_what_recommendations_add(log: Path, tmp_path: Path) -> None:
    """Against the holdout, the purchases of a person with their interval, whole and by device."""
    devices = tmp_path / "devices.csv"
    rows = [f"v{n},{'phone' if n % 4 < 2 else 'desk'}\n" for n in range(400)]
    devices.write_text("visitor_id,device\n" + "".join(rows))
    arms = ["--treatment", "personal", "--control", "popular", "--log", str(log)]
    found = document(evaluate(tmp_path, "slices", "holdout", *arms, "--persons", str(devices), "--json"))
    assert (found["whole"]["control_persons"], found["whole"]["treated_persons"]) == (200, 200)
    assert found["whole"]["low"] < 0.3 < found["whole"]["high"]
    assert found["whole"]["low"] > 0
    by = {(each["by"], each["name"]): each for each in found["slices"]}
    assert by["device", "phone"]["holds"]
    assert not by["device", "desk"]["holds"]
    assert [each["low"] for each in found["slices"]] == sorted(each["low"] for each in found["slices"])
    printed = evaluate(tmp_path, "slices", "holdout", *arms)
    assert "popular" in printed.stdout


def test_whom_recommendations_move(log: Path, tmp_path: Path) -> None:
    """Every learner finds the persons who clicked before, and the scores are written."""
    arms, scores = ["--treatment", "personal", "--control", "popular", "--log", str(log)], tmp_path / "scores.csv"
    found = document(evaluate(tmp_path, "uplift", "holdout", *arms, "--scores", str(scores), "--json"))
    assert found["qini"]["two-model"]["low"] > 0
    rows = scores.read_text().splitlines()
    assert rows[0] == "person,arm,two-model,T-learner,X-learner,DR-learner"
    assert len(rows) == 401


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["slices", "nothing"], "no page of the log is of the experiment 'nothing'"),
        (["slices", "holdout"], "arms of the experiment: personal, popular"),
        (["slices", "holdout", "--outcome", "sales"], "use purchases, buyers, revenue"),
        (["popularity", "--estimator", "best"], "use ips, snips, dm, dr, switch-dr, position-based, interaction"),
        (["popularity", "--lists", "mine"], "use search, recommend, all"),
        (["popularity"], "no whole ranking"),
        (["ranking/0009"], "use current, built-in, popularity, retrieval"),
    ],
)
def test_what_cannot_be_evaluated(log: Path, tmp_path: Path, arguments: list[str], problem: str) -> None:
    """The exit code is 2, and the message has what can be used instead."""
    result = evaluate(tmp_path, *arguments, "--log", str(log))
    assert result.exit_code == 2
    assert problem in result.stderr


def test_a_damaged_file(tmp_path: Path) -> None:
    """The line that is no record is named."""
    (tmp_path / "log.jsonl").write_text('{"kind": "events", "record": {"event_id": "e"}}\n{"kind": "sales"}\n')
    result = evaluate(tmp_path, "popularity", "--log", str(tmp_path / "log.jsonl"))
    assert result.exit_code == 2
    assert "line 2 is no record of a log" in result.stderr
