"""`kairos user`: the stored data of users and visitors."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import MessageToDict

from cli.calls import call, failed, log_pages, out, print_json
from cli.options import IsVisitor, Json
from cli.render import print_attributes, print_profile
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import profile_pb2, ranker_pb2

app = typer.Typer(no_args_is_help=True, help="The stored data of users and visitors.")
UserId = Annotated[str, typer.Argument(help="Id of the user, or of the visitor.")]


@app.command()
def show(context: typer.Context, user: UserId, visitor: IsVisitor = False, as_json: Json = False) -> None:
    """Print the profile: interests, usual prices, purchases and the latest interactions."""
    message = gateway_pb2.GetProfileRequest()
    setattr(message, _id_field(visitor), user)
    answer = call(context, "GetProfile", message)
    return print_json(answer) if as_json else print_profile(out, answer.profile)


@app.command("set")
def set_attributes(
    context: typer.Context,
    user: UserId,
    values: Annotated[
        list[str], typer.Argument(help="name=text, name:=number, or name= to remove it. Repeat a name for a set.")
    ],
    visitor: IsVisitor = False,
    as_json: Json = False,
) -> None:
    """Set or remove declared attributes, under the schema of the tenant."""
    message = gateway_pb2.SetUserAttributesRequest(attributes=_attributes(values))
    setattr(message, _id_field(visitor), user)
    answer = call(context, "SetUserAttributes", message)
    return print_json(answer) if as_json else print_attributes(out, answer.attributes)


@app.command()
def fairness(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON array instead of JSON lines.")] = False,
) -> None:
    """Export the attributes of all persons that the schema keeps for fairness reports, as JSON lines."""
    rows = []
    for page in log_pages(context, ranker_pb2.LOG_KIND_FAIRNESS_ATTRIBUTES):
        for owned in page.attributes:
            row = MessageToDict(owned, preserving_proto_field_name=True)
            if as_json:
                rows.append(row)
            else:
                print(json.dumps(row, ensure_ascii=False))
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))


@app.command()
def export(
    context: typer.Context,
    user: UserId,
    visitor: IsVisitor = False,
    to: Annotated[Path | None, typer.Option("--out", help="File to write.", show_default="standard output")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write one JSON array instead of JSON lines.")] = False,
) -> None:
    """Export all data of a user or visitor as JSON lines: profile, attributes, events, pages, conversations."""
    message = gateway_pb2.ExportUserRequest()
    setattr(message, _id_field(visitor), user)
    between = "[\n" if as_json else ""
    with to.open("w", encoding="utf-8") if to else nullcontext(sys.stdout) as file:
        while True:
            page = call(context, "ExportUser", message)
            records = [("profile", page.profile)] if page.HasField("profile") else []
            records += [("attribute", attribute) for attribute in page.attributes]
            records += [("event", event) for event in page.events]
            records += [("impressions", impressions) for impressions in page.impressions]
            records += [("ranking", ranking) for ranking in page.rankings]
            records += [("conversation", conversation) for conversation in page.conversations]
            for kind, record in records:
                line = {"record": kind} | MessageToDict(record, preserving_proto_field_name=True)
                file.write(between + json.dumps(line, ensure_ascii=False) + ("" if as_json else "\n"))
                between = ",\n" if as_json else ""
            message.page_token = page.next_page_token
            if not message.page_token:
                break
        if as_json:
            file.write("[]\n" if between == "[\n" else "\n]\n")


@app.command()
def merge(
    context: typer.Context,
    visitor: Annotated[str, typer.Argument(help="Id of the visitor.")],
    user: Annotated[str, typer.Argument(help="Id of the user.")],
    as_json: Json = False,
) -> None:
    """Move the history of an anonymous visitor to a user, once."""
    answer = call(context, "MergeUsers", gateway_pb2.MergeUsersRequest(visitor_id=visitor, user_id=user))
    if as_json:
        return print_json(answer)
    return out.print(f"moved {answer.moved_event_count} events, {answer.moved_impressions_count} shown pages")


@app.command()
def delete(
    context: typer.Context,
    user: UserId,
    visitor: IsVisitor = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Delete all stored data of a user or visitor. This cannot be undone."""
    if not yes:
        typer.confirm(f"Delete all events and the profile of {user!r}?", abort=True, err=True)
    message = gateway_pb2.DeleteUserRequest()
    setattr(message, _id_field(visitor), user)
    answer = call(context, "DeleteUser", message)
    if as_json:
        return print_json(answer)
    return out.print(
        f"deleted {answer.deleted_event_count} events, {answer.deleted_impressions_count} shown pages, "
        f"{answer.deleted_ranking_count} rankings and {answer.deleted_conversation_count} conversations"
    )


def _attributes(values: Sequence[str]) -> list[profile_pb2.UserAttribute]:
    attributes: dict[str, profile_pb2.UserAttribute] = {}
    for value in values:
        name, separator, text = value.partition("=")
        if not separator:
            raise failed(f"{value!r} has no value", "Write name=text, name:=number, or name= to remove it.", 2)
        is_number = name.endswith(":")
        name = name.removesuffix(":")
        attribute = attributes.setdefault(name, profile_pb2.UserAttribute(name=name))
        try:
            if is_number:
                attribute.number = float(text)
            elif text:
                attribute.texts.append(text)
        except ValueError:
            raise failed(f"{text!r} is not a number", f"Write {name}:=3.5, or {name}={text} for a text.", 2) from None
    return list(attributes.values())


def _id_field(is_visitor: bool) -> str:
    return "visitor_id" if is_visitor else "user_id"
