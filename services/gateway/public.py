"""One decorator around every public method: who calls, until when, how many at once, and what is told of it."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import Message

from services.common.errors import InvalidArgument
from services.common.rpc import set_status
from services.common.telemetry import span_of_call
from services.gateway.call import CallInfo, current_call
from services.gateway.malformed import Malformed

_MAX_REQUEST_ID = 128
_log = structlog.get_logger("kairos.access")

Response = TypeVar("Response", bound=Message)
Method = Callable[[Any, Any], Awaitable[Response]]


def public(response_type: type[Response]) -> Callable[[Method[Response]], Callable[..., Awaitable[Response]]]:
    """Wrap `async def Method(self, request)`; `self` has authenticator, limit and metrics.

    The request id comes from the metadata `x-request-id` or is made here; it goes back in the initial metadata.
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
                    tenant = self.authenticator.tenant_of(name, metadata)
                    if isinstance(request, Malformed):
                        raise InvalidArgument.of(request.field, request.problem)
                    remaining_s = context.time_remaining()
                    deadline_s = None if remaining_s is None else began + remaining_s
                    current_call.set(CallInfo(request_id, tenant, began, deadline_s))
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


def _request_id(metadata: list[tuple[str, Any]]) -> str:
    sent = next((value for key, value in metadata if key == "x-request-id"), "")
    if isinstance(sent, str) and 1 <= len(sent) <= _MAX_REQUEST_ID and sent.isprintable():
        return sent
    return uuid.uuid4().hex
