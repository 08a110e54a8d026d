"""`kairos control pins`: the positions of products in merchandising rules, as CSV."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cli.calls import out
from cli.control_client import checked_input, client_of
from cli.options import Json
from cli.pin_rows import COLUMNS, as_csv, read_pins, rows_of, with_pins
from kairos.control.v1 import control_pb2

app = typer.Typer(no_args_is_help=True, help="Positions of products in merchandising rules, as CSV.")

_KIND = control_pb2.RESOURCE_KIND_MERCHANDISING_RULE


@app.command("export")
def export_pins(
    context: typer.Context,
    file: Annotated[Path | None, typer.Option("--out", help="File to write. Default: standard output.")] = None,
    as_json: Json = False,
) -> None:
    """Write the pins of all rules, drafts too, a row for each. `import` reads the file."""
    rows = rows_of(client_of(context).resources("merchandising_rule"))
    text = json.dumps(rows, ensure_ascii=False) + "\n" if as_json else as_csv(rows)
    if file is None:
        print(text, end="")
    else:
        file.write_text(text, "utf-8")
        out.print(f"wrote {len(rows)} pins to {escape(str(file))}")


@app.command("import")
def import_pins(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help=f"CSV file with the columns {', '.join(COLUMNS)}.")],
    publish: Annotated[bool, typer.Option(help="Publish the rules of the file afterwards, all or none.")] = False,
    as_json: Json = False,
) -> None:
    """Give rules the pins of a file, as drafts. A rule's other actions stay, and rules that the file does not have too.

    A rule that does not exist is made, with the query or category of its rows. Nothing is changed if a row is wrong;
    exit code 2 then, and if control refuses a rule: those before it are stored.
    """
    client = client_of(context)
    with checked_input():
        found = read_pins(file)
        resources = [with_pins(rows, client.resource(_KIND, id)) for id, rows in found.items()]
    done = [client.apply(resource) for resource in resources]
    version = client.publish([resource for _, resource in done]).snapshot_version if publish else None
    if as_json:
        listed = [{"id": one.id, "outcome": what, "pins": len(found[one.id])} for what, one in done]
        print(json.dumps({"rules": listed, "snapshot_version": version}, ensure_ascii=False))
        return
    for what, one in done:
        out.print(f"{what:<10}{escape(one.id)}, {len(found[one.id])} pins, version {one.version}")
    if version is not None:
        out.print(f"published, snapshot {version}")
