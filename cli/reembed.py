"""`kairos catalog reembed`: changes the catalogue to another text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import grpc
import typer
from google.protobuf.json_format import MessageToDict
from rich.markup import escape
from rich.table import Table

from catalog.rows import FileRefused
from cli.calls import connection_of, err, failed, out
from cli.options import Json
from cli.reembedding import Reembedding, Refused
from kairos.gateway.v1 import gateway_pb2
from ops.client import explain_error


def reembed(
    context: typer.Context,
    model_version: Annotated[
        str, typer.Option(help="Version of the new model, which the query encoder must serve as its second model.")
    ] = "",
    vectors: Annotated[
        Path | None,
        typer.Option(help="Parquet file or folder of training.bulk_embedding. The query encoder embeds the rest."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Fill and check the new collection, but do not switch to it.")] = False,
    force: Annotated[bool, typer.Option(help="Switch even if the check finds a problem.")] = False,
    rollback: Annotated[bool, typer.Option(help="Switch back to the previous model.")] = False,
    drop: Annotated[bool, typer.Option(help="Delete the collection that is not live.")] = False,
    as_json: Json = False,
) -> None:
    """Change the catalogue to another text encoder while searches go on. Without options: print the collections."""
    if bool(model_version) + rollback + drop > 1:
        raise typer.BadParameter("--model-version, --rollback and --drop exclude each other; give one of them")
    job = Reembedding(connection_of(context), model_version, quiet=as_json)
    try:
        state = job.describe()
        if rollback or drop:
            if not state.HasField("staged") or (rollback and not state.staged_is_previous):
                raise Refused("there is no previous model" if rollback else "there is no collection to delete")
            job.model_version = state.staged.model_version
        problems = []
        if drop:
            job.drop()
        elif model_version or rollback:
            problems = _switch(job, vectors, dry_run, force, begin=not rollback)
    except grpc.RpcError as error:
        hint = "what was done so far is kept; run the same command again to continue"
        raise failed(explain_error(error), hint) from None
    except (FileRefused, Refused) as error:
        raise failed(str(error), exit_code=2) from None
    _print_collections(job.describe(), job, as_json)
    for problem in problems:
        err.print(f"[red]{escape(problem)}", soft_wrap=True)
    if problems and not force:
        err.print("the live collection was not changed; --force switches nevertheless")
        raise typer.Exit(1)


def _switch(job: Reembedding, vectors: Path | None, dry_run: bool, force: bool, begin: bool) -> list[str]:
    """Fills, checks and switches; with problems it switches only by force. Returns the problems of the check."""
    if job.describe().live.model_version == job.model_version:
        return []
    if begin:
        job.begin()
    if vectors is not None:
        job.store(vectors)
    job.fill()
    problems = job.check()
    if not dry_run and (force or not problems):
        job.switch()
    return problems


def _print_collections(state: gateway_pb2.DescribeCollectionsResponse, job: Reembedding, as_json: bool) -> None:
    """The live and the staged collection, what was done, and the results of the check."""
    collections = {
        role: MessageToDict(
            getattr(state, role), preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        for role in ("live", "staged")
        if state.HasField(role)
    }
    done: dict[str, float] = {"from_file": job.from_file, "embedded": job.embedded}
    figures = job.figures
    if figures.sampled_count:
        done |= {"sampled": figures.sampled_count, "recall": figures.recall, "overlap": figures.overlap}
    if as_json:
        out.print_json(data=collections | {"staged_is_previous": state.staged_is_previous, "done": done})
        return
    table = Table("", "model", "dimensions", "products", "without a vector", box=None, pad_edge=False)
    for role, collection in collections.items():
        name = "previous" if role == "staged" and state.staged_is_previous else role
        numbers = (f"{int(collection[key]):,}" for key in ("dimensions", "product_count", "without_vector_count"))
        table.add_row(name, escape(collection["model_version"]), *numbers)
    out.print(table)
    out.print(f"{job.from_file:,} vectors from the file, {job.embedded:,} products embedded")
    if figures.sampled_count:
        out.print(
            f"of the nearest neighbours of {figures.sampled_count} products, searches find {figures.recall:.0%}; "
            f"{figures.overlap:.0%} are nearest neighbours by the other model too"
        )
