"""`kairos models` on a registry in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A registry with versions 0001 and 0002 of the tenant `default`."""
    registry = ModelRegistry(tmp_path / "default")
    for number, log_loss in enumerate((0.5, 0.4)):
        registry.publish(
            lambda folder: None,
            {
                "created_s": 1_800_000_000.0, "settings": {"epochs": 1 + number, "rate": 0.1},
                "data": {"to_s": 5.0 + number}, "metrics": {"log_loss": log_loss},
            },
        )  # fmt: skip
    return tmp_path


def models(folder: Path, *arguments: str) -> Result:
    command, *rest = arguments
    return CliRunner().invoke(
        app, ["models", command, *rest, "--registry", str(folder)], env={"COLUMNS": "200", "NO_COLOR": "1"}
    )


def test_promoted_and_back(folder: Path) -> None:
    """A version is promoted by any of its names, and a rollback returns to the previous one; both are logged."""
    assert models(folder, "promote", "1").exit_code == 0
    assert "current: ranking/0002" in models(folder, "promote", "learned@0002").stdout
    assert "current: ranking/0001" in models(folder, "rollback").stdout
    registry = ModelRegistry(folder / "default")
    assert registry.rollout().current == "0001"
    assert [(step.kind.value, step.version) for step in registry.steps()] == [
        ("promoted", "0001"), ("promoted", "0002"), ("rolled back", "0002"),
    ]  # fmt: skip


def test_the_list_has_roles(folder: Path) -> None:
    """The list has the current version, the challenger with its share, metrics and steps, as a table and as JSON."""
    models(folder, "promote", "0001")
    assert "ranking/0002: share 25%" in models(folder, "promote", "0002", "--share", "0.25").stdout
    lines = models(folder, "list").stdout.splitlines()
    assert any(line.startswith("ranking/0001") and "current" in line and "log_loss=0.5" in line for line in lines)
    assert any(line.startswith("ranking/0002") and "share 25%" in line for line in lines)
    assert any("ranking/0001 promoted  by hand" in line for line in lines)
    document = json.loads(models(folder, "list", "--json").stdout)["models"]["ranking"]
    assert document["rollout"]["other"] == "0002"
    assert document["rollout"]["stage"] == "share"
    assert [step["kind"] for step in document["steps"]] == ["promoted", "share"]


def test_a_comparison(folder: Path) -> None:
    """A comparison has the metrics with their change; equal settings are left out."""
    lines = models(folder, "diff", "0001", "0002").stdout.splitlines()
    assert any("metrics.log_loss" in line and "-0.1" in line for line in lines)
    assert any("settings.epochs" in line for line in lines)
    assert not any("settings.rate" in line for line in lines)
    document = json.loads(models(folder, "diff", "0001", "0002", "--json").stdout)
    assert document["data.to_s"] == {"0001": 5.0, "0002": 6.0}


def test_trees_name_their_shopper_model(tmp_path: Path) -> None:
    """`show` says which version made the lists of trees, if another one serves now."""
    shoppers = ModelRegistry(tmp_path / "default" / "shopper")
    for _ in range(2):
        shoppers.publish(lambda folder: None, {"created_s": 1.0})
    shoppers.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001"))
    for made_with in ("0001", ""):
        ModelRegistry(tmp_path / "default").publish(
            lambda folder: None, {"created_s": 1.0, "trees": {"shopper_version": made_with}}
        )

    def note(version: str) -> str:
        shown: str = json.loads(models(tmp_path, "show", version, "--json").stdout)["note"]
        return shown

    assert note("ranking/0001") == note("shopper/0001") == ""
    assert "a fit of the shopper model that is no version; shopper/0001 serves" in note("ranking/0002")
    shoppers.take_step(StepKind.PROMOTED, "0002", lambda now: now.promoted("0002"))
    assert "were made with shopper/0001; shopper/0002 serves" in note("ranking/0001")
    assert note("ranking/0001") in models(tmp_path, "show", "ranking/0001").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("promote", "0009"), "there are ranking/0001, ranking/0002"),
        (("diff", "0001", "x"), "there are ranking/0001, ranking/0002"),
        (("rollback",), "no earlier version"),
        (("promote", "built-in", "--share", "0.5"), "is served to all users already"),
    ],
)
def test_refusals_name_the_reason(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    """An impossible step ends with exit code 2 and its reason, and is not logged."""
    result = models(folder, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert ModelRegistry(folder / "default").steps() == []


def test_a_refused_version_is_promoted_only_by_a_word(folder: Path) -> None:
    """The refusal names the evaluation and the option; the option is on record. Shadow needs neither."""
    registry = ModelRegistry(folder / "default")
    registry.take_step(StepKind.EVALUATED, "0002", reason="-9 % clicks", figures={"refused": True})
    refused = models(folder, "promote", "0002")
    assert refused.exit_code == 2
    assert "-9 % clicks" in refused.stderr
    assert "--despite-evaluation" in refused.stderr
    assert models(folder, "promote", "0002", "--share", "0").exit_code == 0
    assert models(folder, "promote", "0002", "--despite-evaluation").exit_code == 0
    assert registry.rollout().current == "0002"
    assert "overruled by hand: -9 % clicks" in [step.reason for step in registry.steps()]
