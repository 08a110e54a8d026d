"""`kairos events`: the interactions of shoppers."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import typer

from catalog.events import event_of
from catalog.imports import EventsImport
from catalog.rows import RowRefused
from cli.calls import call, connection_of, failed, out
from cli.imports import rejects_of, run_import
from cli.options import IsVisitor, Json, RejectsFile, Session, Strict
from kairos.gateway.v1 import gateway_pb2

app = typer.Typer(no_args_is_help=True, help="The interactions of shoppers.")


@app.command("import")
def import_events(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON lines or Parquet, plain or .gz.")],
    rejects: RejectsFile = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Import events.

    Columns: event_id, user_id or visitor_id, session_id, item_id, type, time, query, quantity, dwell_ms.
    """
    run_import(EventsImport(connection_of(context), rejects_of(file, rejects)), file, strict, as_json)


@app.command()
def record(
    context: typer.Context,
    user: Annotated[str, typer.Argument(help="Id of the user, or of the visitor.")],
    item: Annotated[str, typer.Argument(help="Id of the product.")],
    type: Annotated[str, typer.Option(help="click, cart, purchase, remove, dwell or search.")] = "click",
    session: Session = "",
    visitor: IsVisitor = False,
) -> None:
    """Record one event of a user or visitor."""
    person = {"visitor_id" if visitor else "user_id": user}
    values = {"event_id": uuid.uuid4().hex, "item_id": item, "type": type, "session_id": session}
    try:
        event = event_of(values | person)
    except RowRefused as error:
        raise failed(str(error), exit_code=2) from None
    answer = call(context, "RecordEvents", gateway_pb2.RecordEventsRequest(events=[event]))
    unknown = "; the catalogue does not have this product" if answer.missing_ids else ""
    out.print(f"recorded {answer.recorded_count}{unknown}")
