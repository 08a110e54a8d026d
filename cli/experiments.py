"""`kairos experiments`: A/B tests, interleavings, switchbacks of prices: which run, what they say, start and stop."""

from __future__ import annotations

import json
import re
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import grpc
import typer
from rich.markup import escape
from rich.table import Table

from cli.calls import failed, out
from cli.control_client import Client, checked_input, client_of, connect
from cli.control_files import read_resources
from cli.options import DataDir, Json
from experiments.analysis import Analysis
from experiments.log import LogReader
from experiments.prices import products_of, sold_of
from experiments.report import comparison_row, counted_of, document, names_of, page, value_text, verdict_lines
from experiments.resources import MAX_NOTE, Known, State, experiments, published, state_of, stop
from experiments.switchback import BLOCKS_BEFORE, analysed_switchback, blocks_of
from experiments.verdict import verdict_of
from kairos.control.v1 import control_pb2
from ops.client import Connection, explain_error
from ops.learning import learning_of
from ops.settings import SuiteSettings
from services.common.settings import load_settings
from services.pricing.learning.periods import calendar
from services.pricing.learning.sqlite_table import demand_table

app = typer.Typer(no_args_is_help=True, help=__doc__)
app.callback()(connect)

_KIND = control_pb2.RESOURCE_KIND_EXPERIMENT
# Of a call that reads a page of the log, in seconds.
_LOG_TIMEOUT_S = 30.0
Id = Annotated[str, typer.Argument(help="Id of the experiment.")]


@app.command("list")
def list_experiments(
    context: typer.Context,
    archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False,
    as_json: Json = False,
) -> None:
    """List experiments with their state: draft, waiting, running, ended."""
    client = client_of(context)
    found = experiments(client.call, client.tenant, archived)
    if as_json:
        rows = [{"id": one.id, "state": one.state.value} | one.definition.model_dump(mode="json") for one in found]
        print(json.dumps(rows, ensure_ascii=False))
        return
    table = Table("id", "state", "layer", "traffic", "arms", "decided by", box=None, pad_edge=False)
    for one in found:
        definition = one.definition
        shares = [f" {arm.share:g}" if arm.share else "" for arm in definition.arms]
        arms = ", ".join(f"{arm.name}{share}" for arm, share in zip(definition.arms, shares, strict=True))
        layer, traffic = definition.layer, f"{definition.traffic_from:g} to {definition.traffic_to:g}"
        if definition.is_interleaving:
            arms += " interleaved"
        if definition.is_switchback:
            layer, traffic = "prices", f"blocks of {definition.block} days"
        row = (one.id, one.state.value, layer, traffic, arms, definition.primary_metric)
        table.add_row(*map(escape, row))
    out.print(table)
    for one in found:
        if one.definition.note:
            out.print(f"{escape(one.id)}: {escape(one.definition.note)}", soft_wrap=True)


@app.command()
def show(
    context: typer.Context,
    id: Id,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page with plots to this file.")] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Print what the gateway's log says of an experiment: figures by arm, differences, and the verdict.

    The whole log is read; of a switchback of prices, what the price publisher of a suite on this machine has counted.
    Exit code 1 if the experiment is invalid or a guardrail is broken.
    """
    client = client_of(context)
    known = _known(client, id)
    if known.definition.is_switchback:
        found = _of_prices(context, known, data_dir)
    else:
        found = verdict_of(_log_of(context).table, id, known.definition)
    if report is not None:
        report.write_text(page(found), "utf-8")
    if as_json:
        print(json.dumps({"state": known.state.value, **document(found)}, ensure_ascii=False))
    else:
        _print(known, found)
        if report is not None:
            out.print(f"wrote {escape(str(report))}", soft_wrap=True)
    raise typer.Exit(1 if found.problems or found.broken else 0)


@app.command()
def start(
    context: typer.Context,
    source: Annotated[
        str, typer.Argument(help="YAML file as for `kairos control apply`, or the id of a draft.", metavar="FILE|ID")
    ],
    as_json: Json = False,
) -> None:
    """Publish an experiment, with all other resources of its file. It runs from now on, or from its starts_at on.

    Exit code 2 if control refuses it: nothing is effective then.
    """
    client = client_of(context)
    file = Path(source)
    if file.is_file():
        with checked_input():
            resources = read_resources(file)
    else:
        draft = client.resource(_KIND, source)
        if draft is None:
            raise failed(f"there is no file and no experiment {source!r}", exit_code=2)
        resources = [draft]
    started = [one for one in resources if one.kind == _KIND]
    if not started:
        raise failed(f"{source} has no experiment", "Add a document with `kind: experiment`.", exit_code=2)
    for one in started:
        _require_new(client, one)
        if not one.experiment.HasField("starts_at"):
            one.experiment.starts_at.GetCurrentTime()
    answer = client.publish([client.apply(one)[1] for one in resources])
    if as_json:
        rows = [{"id": one.id, "state": state_of(one.experiment).value} for one in started]
        print(json.dumps({"experiments": rows, "snapshot_version": answer.snapshot_version}))
        return
    for one in started:
        out.print(f"{state_of(one.experiment).value} {escape(one.id)}, snapshot {answer.snapshot_version}")


@app.command("stop")
def stop_experiment(
    context: typer.Context,
    id: Id,
    note: Annotated[str, typer.Option(help=f"Why. At most {MAX_NOTE:,} characters.")] = "",
    as_json: Json = False,
) -> None:
    """End an experiment now: everybody is answered without it again. Its definition and its log stay."""
    client = client_of(context)
    known = _known(client, id)
    if known.state not in (State.RUNNING, State.WAITING):
        raise failed(f"the experiment {id!r} is {known.state.value}; nothing is to be stopped", exit_code=2)
    version = stop(client.call, client.tenant, id, note)
    if as_json:
        print(json.dumps({"id": id, "state": State.ENDED.value, "snapshot_version": version}))
    else:
        out.print(f"ended {escape(id)}, snapshot {version}")


def _known(client: Client, id: str) -> Known:
    found = next((one for one in experiments(client.call, client.tenant, with_archived=True) if one.id == id), None)
    if found is None:
        raise failed(f"there is no experiment {id!r}", "`kairos experiments list` shows what there is.", exit_code=2)
    return found


def _require_new(client: Client, draft: control_pb2.Resource) -> None:
    """Refuses a second start: the log does not say which run of an id an exposure belongs to."""
    present = client.resource(_KIND, draft.id)
    if present is None or not present.published_version:
        return
    state = state_of(published(client.call, client.tenant, draft.id).experiment)
    raise failed(
        f"the experiment {draft.id!r} is {state.value}: the log would mix it with another run",
        "Start it under another id. To change a running experiment, use `kairos control apply --publish`.", exit_code=2,
    )  # fmt: skip


def _log_of(context: typer.Context) -> LogReader:
    connection: Connection = context.find_root().obj
    with connection.stub() as stub:
        reader = LogReader(stub, connection.metadata, max(connection.timeout_s, _LOG_TIMEOUT_S))
        try:
            reader.read_on()
        except grpc.RpcError as error:
            raise failed(explain_error(error)) from None
    return reader


def _of_prices(context: typer.Context, known: Known, data_dir: Path | None) -> Analysis:
    starts = known.definition.starts_at
    if starts is None:
        hint = "Set starts_at to the time of its publish, with `kairos control apply --publish`."
        raise failed(f"the experiment {known.id!r} has no starts_at: its first block is not known", hint, exit_code=2)
    settings, folder = learning_of(load_settings(SuiteSettings, {"data_dir": data_dir} if data_dir else {}))
    connection: Connection = context.find_root().obj
    try:
        since = (starts - timedelta((1 + BLOCKS_BEFORE) * known.definition.block)).date()
        sold = list(sold_of(demand_table(settings, folder).periods(since)))
    except ValueError as error:
        raise failed(str(error), exit_code=2) from None
    with connection.stub() as stub:
        try:
            products = products_of(stub, connection.metadata, max(connection.timeout_s, _LOG_TIMEOUT_S))
        except grpc.RpcError as error:
            raise failed(explain_error(error)) from None
    today = calendar(settings.time_zone)(time.time())
    return analysed_switchback(blocks_of(sold, products, known.id, known.definition, today), known.id, known.definition)


def _print(known: Known, found: Analysis) -> None:
    out.print(f"[bold]{escape(found.id)}[/], {known.state.value}")
    if known.definition.note:
        out.print(escape(known.definition.note), soft_wrap=True)
    names = names_of(found)
    arms = Table("", *(arm.name for arm in found.arms), box=None, pad_edge=False)
    units, answers = counted_of(found)
    arms.add_row(units, *(f"{arm.units:,}" for arm in found.arms))
    arms.add_row(answers, *(f"{arm.answers:,}" for arm in found.arms))
    for metric in found.metrics:
        arms.add_row(names[metric], *(value_text(metric, arm.values[metric], found.currency) for arm in found.arms))
    if found.mode != "switchback":
        arms.add_row("latency p95, ms", *(re.sub("nan", "-", f"{arm.latency_p95_ms:.0f}") for arm in found.arms))
    out.print(arms)
    for arm in found.verdicts:
        compared = [one for one in found.comparisons if one.arm == arm]
        if not compared:
            continue
        table = Table(f"{arm} - {found.control_arm}", "difference", "interval", "", box=None, pad_edge=False)
        for one in compared:
            _, name, difference, interval, *_, judgement, _ = comparison_row(one, found.currency, names)
            table.add_row(*map(escape, (name, difference, interval, judgement)))
        out.print(table)
    for line in [*found.notes, *verdict_lines(found)]:
        out.print(escape(line), soft_wrap=True)
