"""Calls of the gateway. An error is printed as a sentence and ends the command with exit code 1."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import typer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from rich.console import Console
from rich.markup import escape

from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from ops.client import Connection, explain_error

# Records of one call of a log. Pages come with their features, some 5 KB each: searches must not wait for a gateway
# that copies megabytes. 0: the default of the gateway.
_LOG_RECORDS = {ranker_pb2.LOG_KIND_EVENTS: 500, ranker_pb2.LOG_KIND_IMPRESSIONS: 100}

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


def log_pages(context: typer.Context, log: ranker_pb2.LogKind.ValueType) -> Iterator[gateway_pb2.ReadLogResponse]:
    """All that is in the log, page by page."""
    message, is_last = gateway_pb2.ReadLogRequest(log=log, page_size=_LOG_RECORDS.get(log, 0)), False
    while not is_last:
        page: gateway_pb2.ReadLogResponse = call(context, "ReadLog", message)
        message.page_token, is_last = page.next_page_token, page.is_last_page
        yield page


def failed(problem: str, hint: str = "", exit_code: int = 1) -> typer.Exit:
    """Prints what went wrong, and what to do. The result is to be raised."""
    err.print(f"[red]{escape(problem)}", soft_wrap=True)
    if hint:
        err.print(hint, soft_wrap=True)
    return typer.Exit(exit_code)


def print_json(message: Message) -> None:
    print(MessageToJson(message, preserving_proto_field_name=True, ensure_ascii=False))
