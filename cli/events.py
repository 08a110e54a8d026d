"""`kairos events`: the interactions of shoppers."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import typer

from catalog.events import event_of
from catalog.imports import EventsImport
from catalog.rows import RowRefused
from cli.calls import call, connection_of, failed, out, print_json
from cli.imports import rejects_of, run_import
from cli.options import Json, RejectsFile, Session, Strict, User, Visitor
from kairos.gateway.v1 import gateway_pb2

app = typer.Typer(no_args_is_help=True, help="The interactions of shoppers.")


@app.command("import")
def import_events(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON or Parquet, plain or .gz.")],
    rejects: RejectsFile = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Import events: an event log, or what `kairos user export` has written.

    Columns: event_id, user_id or visitor_id, session_id, item_id, type, time, query, quantity, dwell_ms, price,
    currency, order_id, quote_id, attribution_token. Exit code: 0 all rows were accepted or are in the file of rejected
    rows; 1 none was accepted, the gateway refused, or --strict and a row was rejected; 2 the file cannot be read.
    """
    run_import(EventsImport(connection_of(context), rejects_of(file, rejects)), file, strict, as_json)


@app.command()
def record(
    context: typer.Context,
    user: User = "",
    visitor: Visitor = "",
    item: Annotated[str, typer.Option(help="Id of the product. Only a search may have none.")] = "",
    type: Annotated[
        str, typer.Option(help="click, cart, purchase, remove, dwell, search, impression, refund or cancellation.")
    ] = "click",
    session: Session = "",
    query: Annotated[str, typer.Option(help="Text of the query of a search.")] = "",
    price: Annotated[str, typer.Option(help="What was paid for one piece, with its currency: 59.00 USD.")] = "",
    order: Annotated[str, typer.Option(help="Id of the order of a purchase, refund or cancellation.")] = "",
    attribution_token: Annotated[
        str, typer.Option(help="Token of the answer that showed the product; `--json` prints it.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Record one event of a user or visitor, with a new id and the present time."""
    values = {
        "event_id": uuid.uuid4().hex, "user_id": user, "visitor_id": visitor, "item_id": item, "type": type,
        "session_id": session, "query": query, "attribution_token": attribution_token,
        "order_id": order, **({"price": price} if price else {}),
    }  # fmt: skip
    try:
        event = event_of(values)
    except RowRefused as error:
        option = "--" + error.field.removesuffix("_id")
        raise failed(f"{option}: {error.reason}", exit_code=2) from None
    answer = call(context, "RecordEvents", gateway_pb2.RecordEventsRequest(events=[event]))
    if as_json:
        return print_json(answer)
    unknown = "; the catalogue does not have this product" if answer.missing_ids else ""
    return out.print(f"recorded {answer.recorded_count}{unknown}")
