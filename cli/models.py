"""`kairos models`: the ranker's learned versions. Works on the registry's files; the ranker follows within a second."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ops.settings import SuiteSettings
from services.common.context import DEFAULT_TENANT, check_tenant
from services.common.settings import load_settings
from services.ranker.adapters.model_registry import ModelRegistry
from services.ranker.domain.rollout import Rollout, Stage, Step, StepKind

app = typer.Typer(no_args_is_help=True, help="The ranker's learned versions.")
_out, _err = Console(), Console(stderr=True)

# What people call the scoring function that needs no training; the registry calls it "".
BUILT_IN = "built-in"
BY_HAND = "by hand"
Registry = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        envvar="KAIROS_RANKER_REGISTRY_DIR",
        help="Folder of all tenants.",
        show_default="var/ranker/models",
    ),
]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the suite's state.", show_default="var")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


@app.command("list")
def list_versions(
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: str = DEFAULT_TENANT,
    steps: Annotated[int, typer.Option(min=0, help="So many of the last steps.")] = 10,
    as_json: Json = False,
) -> None:
    """Versions, who is answered by which, and the last steps."""
    found = _registry(registry, data_dir, tenant)
    with _refusals():
        rollout, taken = found.rollout(), found.steps()[-steps:] if steps else []
        manifests = {version: found.manifest(version) for version in found.versions()}
    if as_json:
        print(json.dumps({"rollout": _plain(rollout), "versions": manifests, "steps": [_plain(s) for s in taken]}))
        return
    table = Table("version", "is", "made", "metrics", box=None, pad_edge=False)
    for version in ["", *manifests]:
        about = manifests.get(version, {})
        made = _moment(about["created_s"]) if about else ""
        table.add_row(_name(version), _role(rollout, version), made, _figures(about.get("metrics", {})))
    _out.print(table)
    for step in taken:
        why = " ".join(part for part in (step.reason, _figures(step.figures)) if part)
        _out.print(f"{_moment(step.at_s)}  {_name(step.version)} {step.kind.value}  {escape(why)}", soft_wrap=True)


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help=f'For example 0003; "{BUILT_IN}": no learned one.')],
    share: Annotated[
        float, typer.Option(min=0, max=1, help="Only to that share of the users, on trial. 1: to all of them.")
    ] = 1.0,
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: str = DEFAULT_TENANT,
) -> None:
    """Let a version answer all users, or a share of them, or (--share 0) nobody, in shadow."""
    found, chosen = _registry(registry, data_dir, tenant), _version(version)
    with _refusals():
        if share >= 1:
            found.take_step(StepKind.PROMOTED, chosen, lambda now: now.promoted(chosen), BY_HAND)
        elif chosen == found.rollout().current:
            raise ValueError(f"{_name(chosen)} answers everybody already")
        elif share > 0:
            found.take_step(StepKind.SHARE, chosen, lambda now: now.with_share(chosen, share), BY_HAND)
        else:
            found.take_step(StepKind.SHADOW, chosen, lambda now: now.with_shadow(chosen), BY_HAND)
    _say(found.rollout())


@app.command()
def rollback(registry: Registry = None, data_dir: DataDir = None, tenant: str = DEFAULT_TENANT) -> None:
    """Take the challenger away; where there is none, go back to the version before."""
    found = _registry(registry, data_dir, tenant)
    with _refusals():
        now = found.rollout()
        leaving = now.current if now.challenger is None else now.challenger
        found.take_step(StepKind.ROLLED_BACK, leaving, lambda now: now.rolled_back(), BY_HAND)
    _say(found.rollout())


@app.command()
def diff(
    one: Annotated[str, typer.Argument(help="For example 0002.")],
    other: str,
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: str = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Two versions side by side: metrics, and what else differs in settings, features and data."""
    found = _registry(registry, data_dir, tenant)
    with _refusals():
        left, right = (_flat(found.manifest(version)) for version in (one, other))
    rows = {key: (left.get(key), right.get(key)) for key in sorted({*left, *right})}
    shown = {key: pair for key, pair in rows.items() if key.startswith("metrics.") or pair[0] != pair[1]}
    if as_json:
        print(json.dumps({key: {one: a, other: b} for key, (a, b) in shown.items()}))
        return
    table = Table("", one, other, "change", box=None, pad_edge=False)
    for key, (a, b) in shown.items():
        numbers = all(isinstance(value, float | int) and not isinstance(value, bool) for value in (a, b))
        table.add_row(key, _text(a), _text(b), f"{b - a:+.4g}" if numbers else "")  # type: ignore[operator]
    _out.print(table)


def _registry(registry: Path | None, data_dir: Path | None, tenant: str) -> ModelRegistry:
    state = load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {}).data_dir
    return ModelRegistry((registry or state / "ranker" / "models") / check_tenant(tenant, "--tenant"))


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        _err.print(f"[red]{escape(str(error))}", soft_wrap=True)
        raise typer.Exit(2) from None


def _version(text: str) -> str:
    """0003, 3 and learned@0003 are the same."""
    if text == BUILT_IN:
        return ""
    number = text.rpartition("@")[2]
    return f"{int(number):04}" if number.isdigit() else text


def _name(version: str) -> str:
    return version or BUILT_IN


def _role(rollout: Rollout, version: str) -> str:
    if version == rollout.current:
        return "current"
    if version == rollout.other and rollout.stage is not None:
        return rollout.stage.value if rollout.stage is Stage.SHADOW else f"{rollout.stage.value} {rollout.share:.0%}"
    return "before" if version in rollout.before else ""


def _say(rollout: Rollout) -> None:
    text = f"{_name(rollout.current)} answers"
    if rollout.other is not None:
        text += f"; {_name(rollout.other)}: {_role(rollout, rollout.other)}"
    _out.print(escape(text), soft_wrap=True)


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _figures(figures: Mapping[str, object]) -> str:
    return " ".join(f"{name}={_text(value)}" for name, value in _flat(figures).items())


def _text(value: object) -> str:
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested names joined by a dot; lists stay whole."""
    flat: dict[str, object] = {}
    for key, value in document.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _plain(of: Rollout | Step) -> dict[str, Any]:
    """For JSON: enums by their values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(of), default=lambda value: value.value))
    return plain
