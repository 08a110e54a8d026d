"""`kairos user`: the data of one user."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from cli.calls import call, out, print_json
from cli.options import Json
from cli.render import print_profile
from kairos.gateway.v1 import gateway_pb2

app = typer.Typer(no_args_is_help=True, help="The data of one user.")
UserId = Annotated[str, typer.Argument(help="Id of the user.")]


@app.command()
def show(context: typer.Context, user: UserId, as_json: Json = False) -> None:
    """Print the profile: interests, usual prices, purchases and the latest interactions."""
    answer = call(context, "GetProfile", gateway_pb2.GetProfileRequest(user_id=user))
    return print_json(answer) if as_json else print_profile(out, answer.profile)


@app.command()
def export(
    context: typer.Context,
    user: UserId,
    to: Annotated[Path | None, typer.Option("--out", help="File to write.", show_default="standard output")] = None,
) -> None:
    """Export all stored data of a user as JSON lines: the profile, the events and the impressions."""
    with to.open("w", encoding="utf-8") if to else nullcontext(sys.stdout) as file:
        token = ""
        while True:
            page = call(context, "ExportUser", gateway_pb2.ExportUserRequest(user_id=user, page_token=token))
            records = [("profile", page.profile)] if page.HasField("profile") else []
            records += [("event", event) for event in page.events]
            records += [("impressions", impressions) for impressions in page.impressions]
            for kind, record in records:
                line = {"record": kind} | MessageToDict(record, preserving_proto_field_name=True)
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
            token = page.next_page_token
            if not token:
                return


@app.command()
def delete(
    context: typer.Context,
    user: UserId,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete all stored data of a user. This cannot be undone."""
    if not yes:
        typer.confirm(f"Delete all events and the profile of {user!r}?", abort=True)
    answer = call(context, "DeleteUser", gateway_pb2.DeleteUserRequest(user_id=user))
    out.print(f"deleted {answer.deleted_event_count} events and {answer.deleted_impressions_count} shown pages")
