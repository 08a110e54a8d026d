"""Calls of the gateway. An error is printed as a sentence and ends the command with exit code 1."""

from __future__ import annotations

from typing import Any

import grpc
import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console
from rich.markup import escape

from ops.client import Connection, explain_error

out = Console()
err = Console(stderr=True)


def connection_of(context: typer.Context) -> Connection:
    connection: Connection = context.obj
    return connection


def call(context: typer.Context, method: str, message: Message) -> Any:
    """The response of one call."""
    connection = connection_of(context)
    with connection.stub() as stub:
        try:
            return getattr(stub, method)(message, timeout=connection.timeout_s, metadata=connection.metadata)
        except grpc.RpcError as error:
            raise failed(explain_error(error)) from None


def failed(problem: str, hint: str = "", exit_code: int = 1) -> typer.Exit:
    """Prints what went wrong, and what to do. The result is to be raised."""
    err.print(f"[red]{escape(problem)}", soft_wrap=True)
    if hint:
        err.print(hint, soft_wrap=True)
    return typer.Exit(exit_code)


def print_json(message: Message) -> None:
    print(MessageToJson(message, preserving_proto_field_name=True, ensure_ascii=False))
