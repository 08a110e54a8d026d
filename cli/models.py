"""`kairos models`: the learned versions of the models. The commands change the files of the registry, and the services
read them within a second.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import grpc
import typer
from rich.markup import escape
from rich.table import Table

from cli.calls import connection_of, err, failed, out
from cli.options import DataDir, Json, Registry, Tenant
from cli.registries import BUILT_IN, RANKING, SHOPPER, TEXT, Kept, Kind, chosen, registries
from kairos.gateway.v1 import gateway_pb2
from ops.client import explain_error
from services.common.context import DEFAULT_TENANT
from services.common.models.kinds import PICTURES
from services.common.models.registry import REFUSED, refusal_of
from services.common.models.rollout import Rollout, Stage, Step, StepKind

if TYPE_CHECKING:
    from cli.text_steps import TextSteps

app = typer.Typer(no_args_is_help=True, help="The learned versions of the models.")

# The reason of a step that a person takes.
BY_HAND = "by hand"


@app.command("list")
def list_versions(
    kind: Kind = "",
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    steps: Annotated[int, typer.Option(min=0, help="Number of the latest steps to print.")] = 10,
    as_json: Json = False,
) -> None:
    """List the versions, their roles and the latest steps."""
    with _errors_as_exits():
        kept = registries(registry, data_dir, tenant, kind)
        documents = {each.kind: _document(each, steps) for each in kept}
    if as_json:
        print(json.dumps({"models": documents}))
        return
    table = Table("version", "role", "created", "metrics", box=None, pad_edge=False)
    for each in kept:
        rollout, manifests = each.registry.rollout(), documents[each.kind]["versions"]
        # The model of the settings is worth a line where a version may replace it.
        has_settings = each.kind == RANKING or (each.kind == TEXT and manifests)
        for version in [*([""] if has_settings else []), *manifests]:
            about = manifests.get(version, {})
            made = _moment(about["created_s"]) if about else ""
            table.add_row(each.name(version), _role(rollout, version), made, _figures(about.get("metrics", {})))
    out.print(table)
    taken = [(step, each) for each in kept for step in (each.registry.steps()[-steps:] if steps else [])]
    for step, each in sorted(taken, key=lambda entry: entry[0].at_s)[-steps:] if steps else []:
        why = " ".join(part for part in (step.reason, _figures(step.figures)) if part)
        line = f"{_moment(step.at_s)}  {each.name(step.version)} {step.kind.value}  {escape(why)}"
        out.print(line, soft_wrap=True)


@app.command()
def show(
    version: Annotated[str, typer.Argument(help="Version, for example shopper/0003.")],
    kind: Kind = "",
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Print how a version was made, its figures, and where its report is."""
    with _errors_as_exits():
        found, name = chosen(registries(registry, data_dir, tenant, kind), version)
        about, folder = found.registry.manifest(name), found.registry.path(name)
        note = _shopper_note(about, *registries(registry, data_dir, tenant, SHOPPER)) if found.kind == RANKING else ""
    report = next((str(folder / file) for file in ("report.html", "report.json") if (folder / file).exists()), "")
    if as_json:
        role = _role(found.registry.rollout(), name)
        print(json.dumps({"version": found.name(name), "role": role, "report": report, "note": note, **about}))
        return
    out.print(f"{found.name(name)}  {_role(found.registry.rollout(), name)}  {_moment(about['created_s'])}")
    table = Table(box=None, pad_edge=False, show_header=False)
    for key, value in _flat(about).items():
        if key != "created_s" and not isinstance(value, list):
            table.add_row(key, escape(_text(value)))
    out.print(table)
    if note:
        out.print(f"note: {note}", soft_wrap=True)
    out.print(f"report: {escape(report)}" if report else f"files: {escape(str(folder))}", soft_wrap=True)


@app.command()
def promote(
    context: typer.Context,
    version: Annotated[
        str,
        typer.Argument(help=f'Version, for example shopper/0003. "{BUILT_IN}": the scoring function without training.'),
    ],
    share: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Share of the users that get it. 1: all users. 0: none, it only scores in shadow."
        ),
    ] = 1.0,
    despite_evaluation: Annotated[
        bool,
        typer.Option("--despite-evaluation", help="Also if `kairos evaluate` refused the version; it is on record."),
    ] = False,
    kind: Kind = "",
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Serve a version to all users, to a share of them, or to nobody (shadow).

    The item vectors of a shopper model are stored again first if they are not complete. The catalogue is embedded by a
    text model first; to continue an interrupted run, repeat the command.
    """
    with _errors_as_exits():
        found, name = chosen(registries(registry, data_dir, tenant, kind), version)
        if share < 1 and name == found.registry.rollout().current:
            raise ValueError(f"{found.name(name)} is served to all users already")
        if share > 0 and (why := refusal_of(found.registry.steps(), name)):
            if not despite_evaluation:
                raise ValueError(
                    f"{found.name(name)} is refused by its evaluation on the log: {why}; evaluate it again with "
                    f"`kairos evaluate {found.name(name)}`, or add --despite-evaluation"
                )
            overruled = {REFUSED: False}
            found.registry.take_step(StepKind.EVALUATED, name, reason=f"overruled by hand: {why}", figures=overruled)
        if found.kind == PICTURES:
            if share < 1:
                raise ValueError("a picture model serves all users or nobody; leave out --share")
            _check_pictures(context, found, name)
        if found.kind == SHOPPER:
            _store_item_vectors(context, found, name, as_json)
        if found.kind == TEXT:
            with _text_steps(context, found, as_json) as steps:
                steps.promote(name, share)
            if share >= 1:
                _restore_item_vectors(context, registry, data_dir, tenant, as_json)
        elif share >= 1:
            found.registry.take_step(StepKind.PROMOTED, name, lambda now: now.promoted(name), BY_HAND)
        elif share > 0:
            found.registry.take_step(StepKind.SHARE, name, lambda now: now.with_share(name, share), BY_HAND)
        else:
            found.registry.take_step(StepKind.SHADOW, name, lambda now: now.with_shadow(name), BY_HAND)
    _print_rollout(found, as_json)


@app.command()
def rollback(
    context: typer.Context,
    kind: Kind = "",
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Remove the challenger. If there is none, go back to the previous version."""
    with _errors_as_exits():
        kept = registries(registry, data_dir, tenant, kind)
        possible = [each for each in kept if (now := each.registry.rollout()).challenger is not None or now.before]
        if len(possible) > 1:
            kinds = [f"--kind {each.kind}" for each in possible]
            raise ValueError(f"several kinds of models can be rolled back; write {' or '.join(kinds)}")
        found = (possible or kept)[0]
        now = found.registry.rollout()
        leaving, after = now.current if now.challenger is None else now.challenger, now.rolled_back()
        if found.kind == PICTURES and after.current:
            _check_pictures(context, found, after.current)
        if found.kind == SHOPPER and after.current:
            _store_item_vectors(context, found, after.current, as_json)
        if found.kind == TEXT:
            with _text_steps(context, found, as_json) as steps:
                steps.rollback()
            _restore_item_vectors(context, registry, data_dir, tenant, as_json)
        else:
            found.registry.take_step(StepKind.ROLLED_BACK, leaving, lambda now: now.rolled_back(), BY_HAND)
    _print_rollout(found, as_json)


@app.command()
def diff(
    one: Annotated[str, typer.Argument(help="Version, for example shopper/0002.")],
    other: Annotated[str, typer.Argument(help="The version to compare it with.")],
    kind: Kind = "",
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Compare two versions: their metrics, and the settings, features and data that differ."""
    with _errors_as_exits():
        kept = registries(registry, data_dir, tenant, kind)
        left, right = (_flat(found.registry.manifest(name)) for found, name in (chosen(kept, one), chosen(kept, other)))
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


def _store_item_vectors(
    context: typer.Context, found: Kept, version: str, quiet: bool, state: str = "nothing was changed"
) -> None:
    """A version whose item vectors are missing would find no candidates."""
    # Imported here: the other commands need no gateway.
    from training.suite.progress import Progress
    from training.suite.publishing import NoRoom, upload

    try:
        with Progress(err, quiet).shown() as bar:
            has_map = upload(connection_of(context), found.registry.path(version), found.registry, bar)
        if not has_map:
            err.print(
                f"{found.name(version)} was trained with another text model: products that it does not know are not "
                "found by it; train again with `kairos train --only shopper`"
            )
    except NoRoom as error:
        raise ValueError(str(error)) from None
    except grpc.RpcError as error:
        raise failed(explain_error(error), f"{state}: the item vectors could not be stored") from None


def _check_pictures(context: typer.Context, found: Kept, version: str) -> None:
    """Vectors of two picture models cannot be compared, and the suite keeps no pictures to make new ones of."""
    connection, name = connection_of(context), found.registry.manifest(version)["model_version"]
    try:
        with connection.stub() as stub:
            answer = stub.DescribeCollections(
                gateway_pb2.DescribeCollectionsRequest(), timeout=connection.timeout_s, metadata=connection.metadata
            )
    except grpc.RpcError as error:
        raise failed(explain_error(error), "nothing was changed") from None
    if (live := answer.live.image_model_version) not in ("", name):
        raise ValueError(
            f"the catalogue's pictures have vectors of {live!r}, and {found.name(version)} makes those of {name!r}: "
            "import the catalogue with --images into a tenant of its own, or after removing all products"
        )


@contextlib.contextmanager
def _text_steps(context: typer.Context, found: Kept, quiet: bool) -> Iterator[TextSteps]:
    """Errors of the gateway become an exit. What was done stays, and repeating the command goes on."""
    # Imported here: the other commands need no gateway.
    from cli.text_steps import TextSteps

    try:
        yield TextSteps(found.registry, connection_of(context), BY_HAND, quiet)
    except grpc.RpcError as error:
        raise failed(explain_error(error), "searches are answered right; repeat the command to go on") from None


def _restore_item_vectors(
    context: typer.Context, registry: Path | None, data_dir: Path | None, tenant: str, quiet: bool
) -> None:
    """The collection that a text model made live has none of the shopper model that serves."""
    (shopper,) = registries(registry, data_dir, tenant, SHOPPER)
    if current := shopper.registry.rollout().current:
        state = f"the text version serves; repair it by `kairos models promote {shopper.name(current)}`"
        _store_item_vectors(context, shopper, current, quiet, state)


@contextlib.contextmanager
def _errors_as_exits() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise failed(str(error), exit_code=2) from None


def _document(kept: Kept, steps: int) -> dict[str, Any]:
    registry = kept.registry
    return {
        "rollout": _plain(registry.rollout()),
        "versions": {version: registry.manifest(version) for version in registry.versions()},
        "steps": [_plain(step) for step in (registry.steps()[-steps:] if steps else [])],
    }


def _shopper_note(about: Mapping[str, Any], shoppers: Kept) -> str:
    """What the user should know if trees read the scores of another shopper model than they were trained with."""
    made_with, serving = about.get("trees", {}).get("shopper_version"), shoppers.registry.rollout().current
    if made_with is None or made_with == serving:
        return ""
    fit = shoppers.name(made_with) if made_with else "a fit of the shopper model that is no version"
    now = f"{shoppers.name(serving)} serves" if serving else "no shopper model serves"
    return f"its lists were made with {fit}; {now}. The scores mean the same; `kairos train` judges it on new lists"


def _role(rollout: Rollout, version: str) -> str:
    if version == rollout.current:
        return "current"
    if version == rollout.other and rollout.stage is Stage.HOLDBACK and not rollout.share:
        return "previous"
    if version == rollout.other and rollout.stage is not None:
        return rollout.stage.value if rollout.stage is Stage.SHADOW else f"{rollout.stage.value} {rollout.share:.0%}"
    return "previous" if version in rollout.before else ""


def _print_rollout(kept: Kept, as_json: bool) -> None:
    rollout = kept.registry.rollout()
    if as_json:
        return print(json.dumps({"kind": kept.kind, "rollout": _plain(rollout)}))
    text = f"current: {kept.name(rollout.current)}"
    if rollout.other is not None:
        text += f"; {kept.name(rollout.other)}: {_role(rollout, rollout.other)}"
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
