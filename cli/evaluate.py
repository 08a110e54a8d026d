"""`kairos evaluate`: what a policy would have been worth, from the log; a verdict, and a bar for what may go live."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

from cli.calls import err, failed, out
from cli.evaluate_trials import slices, uplift
from cli.evaluation_log import CONTINUE_HINT, LogFile, Outcome, WindowHours, Work, suite_and_folder
from cli.options import DataDir, Json, Registry, Tenant
from cli.registries import BUILT_IN, RANKING, Kept, chosen, registries
from ops.client import explain_error
from services.common.context import DEFAULT_TENANT
from services.common.errors import InvalidArgument
from services.common.models.registry import REFUSED
from services.common.models.rollout import StepKind
from services.common.settings import load_settings

_POLICY = "policy"
_BASELINES = ("popularity", "retrieval")
CURRENT = "current"
_OTHERS = ", ".join((CURRENT, BUILT_IN, *_BASELINES))


class _PolicyFirst(TyperGroup):
    """`kairos evaluate ranking/0002` is `kairos evaluate policy ranking/0002`."""

    default_command = _POLICY

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_PolicyFirst, no_args_is_help=True, help="What a policy or a treatment is worth, estimated from the log."
)


@app.command(_POLICY)
def evaluate_policy(
    context: typer.Context,
    policy: Annotated[
        str,
        typer.Argument(help=f"Version, for example ranking/0002, or one of: {_OTHERS}."),
    ],
    log: LogFile = None,
    outcome: Outcome = "click",
    estimator: Annotated[
        str,
        typer.Option(help="That of the verdict: ips, snips, dm, dr, switch-dr, position-based or interaction."),
    ] = "dr",
    lists: Annotated[str, typer.Option(help="Rankings that are replayed: search, recommend or all.")] = "search",
    delta: Annotated[
        float | None,
        typer.Option(
            min=0, help="The loss, as a share of the logged value, that may be possible.", show_default="settings, 0.05"
        ),
    ] = None,
    window_hours: WindowHours = 24.0,
    work: Work = None,
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Estimate what another order would have been worth, from the rankings that the log has whole.

    The verdict is better, worse, or not distinguishable. That of a version is on record: one that may be worse by more
    than --delta gets no users until it is evaluated again. Needs a key with the role `write`. Exit code: 0 whatever
    the verdict; 1 the gateway refused; 2 an option or the log cannot be used.
    """
    # Imported here: they need libraries of the extra `learner`, which other commands do not.
    from training.evaluation.run import Asked, evaluate
    from training.evaluation.verdict import EvaluationSettings
    from training.suite.progress import Progress

    try:
        (kept,) = registries(registry, data_dir, tenant, RANKING)
        baseline = policy if policy in _BASELINES else ""
        version = None if baseline else _version(kept, policy)
        folder = kept.registry.path(version) if version else None
        settings = load_settings(EvaluationSettings, {} if delta is None else {"delta": delta})
        asked = Asked(baseline, folder, outcome, estimator, lists, window_hours * 3_600, log)
        suite, place = suite_and_folder(context, registry, data_dir, tenant, work)
        with Progress(err, quiet=as_json).shown() as bar:
            found = evaluate(suite, place, asked, settings, bar)
    except grpc.RpcError as error:
        raise failed(explain_error(error), CONTINUE_HINT) from None
    except (ValueError, InvalidArgument) as error:
        raise failed(str(error), exit_code=2) from None
    name = baseline or kept.name(version or "")
    if version is not None:
        figures = found.figures() | {REFUSED: found.verdict.is_refused}
        reason = f"{found.verdict.judgement.value}: {found.verdict.reason}"
        kept.registry.take_step(StepKind.EVALUATED, version, reason=reason, figures=figures)
    document = {"policy": name, **found.document()}
    if as_json:
        return print(json.dumps(document, ensure_ascii=False))
    _print(document)
    if version and found.verdict.is_refused:
        out.print(f"{name} gets no users until it is evaluated again: kairos models promote refuses it", soft_wrap=True)
    return None


@app.command()
def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="JSON lines; a name that ends in .gz is compressed.")],
    work: Work = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Write events, pages that were shown, and whole rankings to a file, to evaluate policies elsewhere.

    The file holds events of persons. Needs a key with the role `write`.
    """
    # Imported here: as above.
    from training.evaluation import run
    from training.suite.progress import Progress

    try:
        suite, place = suite_and_folder(context, None, data_dir, tenant, work)
        with Progress(err, quiet=as_json).shown() as bar:
            count = run.export(suite, place, file, bar)
    except grpc.RpcError as error:
        raise failed(explain_error(error), CONTINUE_HINT) from None
    except (ValueError, OSError, InvalidArgument) as error:
        raise failed(str(error), exit_code=2) from None
    if as_json:
        return print(json.dumps({"file": str(file), "records": count}))
    return out.print(f"{count:,} records in {escape(str(file))}", soft_wrap=True)


def _version(kept: Kept, policy: str) -> str:
    if policy == CURRENT:
        return kept.registry.rollout().current
    try:
        return chosen([kept], policy)[1]
    except ValueError as error:
        raise ValueError(
            f"{error}; or use {_OTHERS}. A serving configuration finds other candidates than the log has: compare it "
            "in an experiment"
        ) from None


def _print(document: dict[str, Any]) -> None:
    logged, verdict = document["logged"], document["verdict"]
    out.print(
        f"{document['policy']}: {document['outcome']}s of a ranking, from {document['rankings']:,} rankings of "
        f"{document['persons']:,} persons; {document['agreement']:.0%} of the first places as logged",
        soft_wrap=True,
    )
    table = Table("estimator", "value", "95 %", "difference", "95 %", "worth", "covered", box=None, pad_edge=False)
    table.add_row("as logged", *_cells(logged), "", "", "", "")
    for name, found in document["estimates"].items():
        overlap = found["overlap"]
        table.add_row(
            name, *_cells(found), *_cells(found["difference"], "+"), f"{overlap['effective']:,.0f}",
            f"{overlap['covered']:.0%}",
        )  # fmt: skip
    out.print(table)
    for reason, count in document["omitted"].items():
        out.print(f"left out: {count:,} rankings, {escape(reason)}", soft_wrap=True)
    out.print(f"{verdict['judgement']} ({document['estimator']}): {escape(verdict['reason'])}", soft_wrap=True)


def _cells(found: dict[str, float], sign: str = "") -> tuple[str, str]:
    return f"{found['value']:{sign}.4f}", f"{found['low']:{sign}.4f} to {found['high']:{sign}.4f}"


for trial in (slices, uplift):
    app.command()(trial)
