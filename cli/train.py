"""`kairos train`: trains the models of the suite on its own data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from rich.markup import escape
from rich.table import Table

from cli.calls import connection_of, err, failed, out
from cli.options import DataDir, Json, Registry, Tenant
from ops.client import explain_error
from ops.settings import SuiteSettings
from services.common.context import DEFAULT_TENANT, check_tenant
from services.common.errors import InvalidArgument
from services.common.models.kinds import PICTURES, UNDERSTANDING
from services.common.settings import load_settings

KINDS = ("shopper", "ranking")
# Trained only if named.
NAMED = ("text", UNDERSTANDING, PICTURES, "compression")


def train(
    context: typer.Context,
    only: Annotated[
        str,
        typer.Option(
            help="Train only this: shopper or ranking; if named, also text, understanding, pictures or compression."
        ),
    ] = "",
    minutes: Annotated[
        float,
        typer.Option(
            min=0.1, help="The most minutes that the training of the shopper or text model, or of pictures, may take."
        ),
    ] = 30.0,
    small: Annotated[
        bool, typer.Option("--small", help="A small network, for some thousand products: within a minute.")
    ] = False,
    tune: Annotated[int, typer.Option(min=0, help="Settings to try on validation lists before the training.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read the data, print what would be trained, and train nothing.")
    ] = False,
    address: Annotated[
        str, typer.Option(help="Address of a Ray cluster that trains. Empty: this process.", show_default="none")
    ] = "",
    labels: Annotated[
        Path | None,
        typer.Option(help="For understanding: CSV of query, head, label, as from `kairos label suggest`."),
    ] = None,
    templates: Annotated[
        Path | None, typer.Option(help="For understanding: sentence templates.", show_default="the built-in ones")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="For pictures: the folder that image_uri are paths in."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed: the same data and seed give the same model.")] = 0,
    work: Annotated[
        Path | None, typer.Option(help="Folder for what is read and trained.", show_default="train in the data folder")
    ] = None,
    registry: Registry = None,
    data_dir: DataDir = None,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: Json = False,
) -> None:
    """Train on the catalogue and the log of the running suite, and publish what is better.

    A run that was killed continues where it stopped. The first shopper model is promoted at once. A later version goes
    into shadow, and the learner lets it answer step by step. A model that is trained only if named waits for `kairos
    models promote`. Needs a key with the role `write`. Exit code: 0 also if the data do not suffice or a version was
    refused; 1 the gateway refused; 2 an option cannot be used.
    """
    if only and only not in (*KINDS, *NAMED):
        raise failed(f"--only {only} is unknown; use {', '.join((*KINDS, *NAMED))}", exit_code=2)
    if only in NAMED and (tune or address):
        raise failed(f"--tune and --address are for the shopper model; leave them out with --only {only}", exit_code=2)
    if only != UNDERSTANDING and (labels or templates):
        raise failed(f"--labels and --templates need --only {UNDERSTANDING}", exit_code=2)
    if (only == PICTURES) != (images is not None):
        raise failed(f"--only {PICTURES} and --images belong together; give both", exit_code=2)
    if images is not None and not images.is_dir():
        raise failed(f"--images {images} is not a folder; name the one that image_uri are paths in", exit_code=2)
    # Imported here: they need libraries of the extra `learner`, which other commands do not.
    from services.ranker.settings import RankerSettings
    from training.suite.dry_run import estimate
    from training.suite.progress import Progress
    from training.suite.run import Suite, run
    from training.suite.settings import settings_for
    from training.suite.work import WorkFolder

    try:
        state = load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {}).data_dir
        ranker = load_settings(RankerSettings)
        check_tenant(tenant, "--tenant")
    except InvalidArgument as error:
        raise failed(str(error), exit_code=2) from None
    suite = Suite(
        connection_of(context), registry or state / "ranker" / "models", tenant, ranker.serving_weights,
        ranker.registry_url,
    )  # fmt: skip
    folder, kinds = WorkFolder(work or state / "train" / tenant), [only] if only else list(KINDS)
    settings = settings_for(
        small=small,
        minutes=minutes,
        seed=seed,
        tune=tune,
        address=address,
        labels=labels,
        templates=templates,
        images=images,
    )
    try:
        with Progress(err, quiet=as_json).shown() as bar:
            if dry_run:
                rows = estimate(suite, folder, settings, bar, kinds)
                return _print_estimates(rows, as_json)
            outcomes = run(suite, folder, settings, bar, kinds)
    except grpc.RpcError as error:
        raise failed(explain_error(error), "what was read is kept; run the same command again to continue") from None
    except ValueError as error:
        raise failed(str(error), exit_code=2) from None
    return _print_outcomes([_plain(outcome) for outcome in outcomes], as_json)


def _plain(outcome: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(outcome), "result": outcome.result.value, "name": outcome.name}


def _print_outcomes(outcomes: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        return print(json.dumps({"models": outcomes}, ensure_ascii=False))
    table = Table("model", "version", "result", "why", "seconds", box=None, pad_edge=False)
    for outcome in outcomes:
        seconds = f"{outcome['seconds']:,.0f}" if outcome["seconds"] else ""
        table.add_row(outcome["kind"], outcome["version"], outcome["result"], escape(outcome["reason"]), seconds)
    out.print(table)
    for outcome in outcomes:
        if outcome["figures"]:
            text = "  ".join(f"{name} {value:.4g}" for name, value in outcome["figures"].items())
            out.print(f"{outcome['name']}: {escape(text)}", soft_wrap=True)
        if outcome["result"] == "proposed":
            out.print(f"serve it with: kairos models promote {outcome['name']}", soft_wrap=True)
        if outcome["report"]:
            out.print(f"report: {escape(outcome['report'])}", soft_wrap=True)
    return None


def _print_estimates(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        return print(json.dumps({"models": rows}, ensure_ascii=False))
    table = Table("model", "trained", "data", "minutes", "version MB", "memory MB", box=None, pad_edge=False)
    for row in rows:
        yes = "yes" if not row["missing"] else f"no: {row['missing']}"
        table.add_row(
            row["kind"], escape(yes), escape(row["data"]), f"{row['minutes']:,.1f}", f"{row['version_mb']:,.1f}",
            f"{row['memory_mb']:,.0f}",
        )  # fmt: skip
    return out.print(table)
