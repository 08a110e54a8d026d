"""One call of a command: errors are told as a person reads them, and end the command with exit code 1."""

from __future__ import annotations

from typing import Any

import grpc
import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console
from rich.markup import escape

from ops.client import Connection, explain_error

_err = Console(stderr=True)


def connection_of(context: typer.Context) -> Connection:
    connection: Connection = context.obj
    return connection


def call(context: typer.Context, method: str, message: Message) -> Any:
    connection = connection_of(context)
    with connection.stub() as stub:
        try:
            return getattr(stub, method)(message, timeout=connection.timeout_s, metadata=connection.metadata)
        except grpc.RpcError as error:
            _err.print(f"[red]{escape(explain_error(error))}", soft_wrap=True)
            raise typer.Exit(1) from None


def print_json(message: Message) -> None:
    print(MessageToJson(message, preserving_proto_field_name=True, ensure_ascii=False))
