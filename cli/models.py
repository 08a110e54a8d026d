"""`kairos models`: the learned versions of the ranker. The commands change the files of the registry, and the ranker
reads them within a second.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from cli.calls import failed, out
from cli.options import DataDir, Json, Registry, Tenant
from ops.settings import SuiteSettings
from services.common.context import DEFAULT_TENANT, check_tenant
from services.common.settings import load_settings
from services.ranker.adapters.model_registry import ModelRegistry
from services.ranker.domain.rollout import Rollout, Stage, Step, StepKind

app = typer.Typer(no_args_is_help=True, help="The learned versions of the ranker.")

# The name of the scoring function that needs no training. In the registry its name is empty.
BUILT_IN = "built-in"
# The reason of a step that a person takes.
BY_HAND = "by hand"


@app.command("list")
def list_versions(
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    steps: Annotated[int, typer.Option(min=0, help="Number of the latest steps to print.")] = 10,
    as_json: Json = False,
) -> None:
    """List the versions, their roles and the latest steps."""
    found = _registry(registry, data_dir, tenant)
    with _errors_as_exits():
        rollout, taken = found.rollout(), found.steps()[-steps:] if steps else []
        manifests = {version: found.manifest(version) for version in found.versions()}
    if as_json:
        print(json.dumps({"rollout": _plain(rollout), "versions": manifests, "steps": [_plain(s) for s in taken]}))
        return
    table = Table("version", "role", "created", "metrics", box=None, pad_edge=False)
    for version in ["", *manifests]:
        about = manifests.get(version, {})
        made = _moment(about["created_s"]) if about else ""
        table.add_row(_name(version), _role(rollout, version), made, _figures(about.get("metrics", {})))
    out.print(table)
    for step in taken:
        why = " ".join(part for part in (step.reason, _figures(step.figures)) if part)
        out.print(f"{_moment(step.at_s)}  {_name(step.version)} {step.kind.value}  {escape(why)}", soft_wrap=True)


@app.command()
def promote(
    version: Annotated[
        str, typer.Argument(help=f'Version, for example 0003. "{BUILT_IN}": the scoring function without training.')
    ],
    share: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of the users that get it. 1: all users. 0: none, it only scores in shadow."
        ),
    ] = 1.0,
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Serve a version to all users, to a share of them, or to nobody (shadow)."""
    found, chosen = _registry(registry, data_dir, tenant), _version(version)
    with _errors_as_exits():
        if share >= 1:
            found.take_step(StepKind.PROMOTED, chosen, lambda now: now.promoted(chosen), BY_HAND)
        elif chosen == found.rollout().current:
            raise ValueError(f"{_name(chosen)} is served to all users already")
        elif share > 0:
            found.take_step(StepKind.SHARE, chosen, lambda now: now.with_share(chosen, share), BY_HAND)
        else:
            found.take_step(StepKind.SHADOW, chosen, lambda now: now.with_shadow(chosen), BY_HAND)
    _print_rollout(found.rollout(), as_json)


@app.command()
def rollback(
    registry: Registry = None, data_dir: DataDir = None, tenant: Tenant = DEFAULT_TENANT, as_json: Json = False
) -> None:
    """Remove the challenger. If there is none, go back to the previous version."""
    found = _registry(registry, data_dir, tenant)
    with _errors_as_exits():
        now = found.rollout()
        leaving = now.current if now.challenger is None else now.challenger
        found.take_step(StepKind.ROLLED_BACK, leaving, lambda now: now.rolled_back(), BY_HAND)
    _print_rollout(found.rollout(), as_json)


@app.command()
def diff(
    one: Annotated[str, typer.Argument(help="Version, for example 0002.")],
    other: Annotated[str, typer.Argument(help="The version to compare it with.")],
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Compare two versions: their metrics, and the settings, features and data that differ."""
    found = _registry(registry, data_dir, tenant)
    with _errors_as_exits():
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
    out.print(table)


def _registry(registry: Path | None, data_dir: Path | None, tenant: str) -> ModelRegistry:
    state = load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {}).data_dir
    return ModelRegistry((registry or state / "ranker" / "models") / check_tenant(tenant, "--tenant"))


@contextlib.contextmanager
def _errors_as_exits() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise failed(str(error), exit_code=2) from None


def _version(text: str) -> str:
    """The name in the registry: 0003, 3 and learned@0003 are the same version."""
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
    return "previous" if version in rollout.before else ""


def _print_rollout(rollout: Rollout, as_json: bool) -> None:
    if as_json:
        return print(json.dumps({"rollout": _plain(rollout)}))
    text = f"current: {_name(rollout.current)}"
    if rollout.other is not None:
        text += f"; {_name(rollout.other)}: {_role(rollout, rollout.other)}"
    return out.print(escape(text), soft_wrap=True)


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _figures(figures: Mapping[str, object]) -> str:
    return " ".join(f"{name}={_text(value)}" for name, value in _flat(figures).items())


def _text(value: object) -> str:
    return "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)


def _flat(document: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Nested names are joined by a dot; lists stay lists."""
    flat: dict[str, object] = {}
    for key, value in document.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _plain(of: Rollout | Step) -> dict[str, Any]:
    """In the form of JSON, with enums as their values."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(of), default=lambda value: value.value))
    return plain
