"""How the gateway receives a call: the decorator of every public method, and the treatment of unreadable messages.

The order of checks: API key and role, readable message, concurrency limit, then the method itself.
"""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import DecodeError, Message

from services.common.errors import InvalidArgument
from services.common.limits import MAX_ID
from services.common.rpc import set_status
from services.common.telemetry import span_of_call
from services.gateway.request_info import RequestInfo, current_request

_log = structlog.get_logger("kairos.access")

Response = TypeVar("Response", bound=Message)
Method = Callable[[Any, Any], Awaitable[Response]]
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable["grpc.RpcMethodHandler[Any, Any] | None"]]


def rpc_method(response_type: type[Response]) -> Callable[[Method[Response]], Callable[..., Awaitable[Response]]]:
    """Wraps `async def Method(self, request)`; `self` has authenticator, limit and metrics.

    The request id is the metadata `x-request-id`, or a new one; the initial metadata of the answer repeat it.
    """

    def decorate(method: Method[Response]) -> Callable[..., Awaitable[Response]]:
        name = method.__name__

        @functools.wraps(method)
        async def call(self: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Response:
            began, code, tenant = time.monotonic(), grpc.StatusCode.OK, ""
            metadata = [(str(key), value) for key, value in context.invocation_metadata() or ()]
            request_id = _request_id(metadata)
            self.metrics.in_flight.inc()
            with structlog.contextvars.bound_contextvars(request_id=request_id), span_of_call(name, metadata) as span:
                try:
                    await context.send_initial_metadata((("x-request-id", request_id),))
                    caller = self.authenticator.caller(name, metadata)
                    tenant = caller.tenant
                    check_readable(request)
                    remaining_s = context.time_remaining()
                    deadline_s = None if remaining_s is None else began + remaining_s
                    current_request.set(RequestInfo(request_id, tenant, began, deadline_s, caller.role))
                    with self.limit.slot():
                        response = await method(self, request)
                except Exception as error:
                    code = set_status(context, error)
                    response = response_type()
                finally:
                    self.metrics.in_flight.dec()
                span.set_attributes(
                    {"kairos.request_id": request_id, "kairos.tenant": tenant, "kairos.code": code.name}
                )
                latency_s = time.monotonic() - began
                degradations = len(getattr(response, "degradations", ()))
                self.metrics.requests.labels(name, code.name).inc()
                if degradations:
                    self.metrics.degraded_answers.labels(name).inc()
                self.metrics.request_seconds.labels(name).observe(latency_s)
                self.metrics.concurrency_limit.set(self.limit.limit)
                _log.info(
                    "call",
                    method=name,
                    code=code.name,
                    latency_ms=round(latency_s * 1e3, 2),
                    tenant=tenant,
                    degradations=degradations,
                )
                return response

        return call

    return decorate


class KeepUnreadableMessages(grpc.aio.ServerInterceptor):
    """Hands a message of `service` that protobuf cannot parse to the method, as the DecodeError.

    gRPC itself would answer INTERNAL, before the API key is checked.
    """

    def __init__(self, service: str) -> None:
        self._methods = f"/{service}/"

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(handler_call_details)
        parse = None if handler is None else handler.request_deserializer
        if handler is None or parse is None or not handler_call_details.method.startswith(self._methods):
            return handler

        def parse_or_keep(data: bytes) -> Any:
            try:
                return parse(data)
            except DecodeError as error:
                return error

        return handler._replace(request_deserializer=parse_or_keep)  # type: ignore[no-any-return, attr-defined]


def check_readable(request: Any) -> None:
    """Raises InvalidArgument for a message that could not be parsed."""
    if isinstance(request, DecodeError):
        raise InvalidArgument.of("request", "is not a readable message; send protobuf with text in UTF-8")


def _request_id(metadata: list[tuple[str, Any]]) -> str:
    sent = next((value for key, value in metadata if key == "x-request-id"), "")
    if isinstance(sent, str) and 1 <= len(sent) <= MAX_ID and sent.isprintable():
        return sent
    return uuid.uuid4().hex
