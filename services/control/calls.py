"""What every call of control has in common: key, role and tenant, a bound, metrics, errors as gRPC statuses."""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import Message

from services.common.call_limit import CallLimit
from services.common.errors import InvalidArgument
from services.common.rpc import set_status
from services.common.telemetry import span_of_call
from services.control.convert import kind_from_proto
from services.control.domain.limits import MAX_REQUEST_BYTES
from services.control.domain.permissions import Caller
from services.control.keyring import Keyring
from services.control.metrics import ControlMetrics

# Calls of one method in progress, of a process.
_MOST_CALLS = 32

Context = grpc.aio.ServicerContext[Any, Any]


class Handler(Protocol):
    keyring: Keyring
    metrics: ControlMetrics


Response = TypeVar("Response", bound=Message)
Method = Callable[[Any, Any, Caller, str], Awaitable[Response]]


def control_call(
    response_type: type[Response],
    kinds: Callable[[Any], list[int]] = lambda _: [],
    most_calls: int = _MOST_CALLS,
    most_bytes: int = MAX_REQUEST_BYTES,
) -> Callable[[Method[Response]], Callable[[Any, Any, Context], Awaitable[Response]]]:
    """Wraps `async def Method(self, request, caller, tenant)` of a Handler. `kinds`: the kinds of resources that a
    request is about. `most_bytes`: of a request.
    """

    def decorate(method: Method[Response]) -> Callable[[Any, Any, Context], Awaitable[Response]]:
        name, limit = method.__name__, CallLimit(method.__name__, most_calls)

        @functools.wraps(method)
        async def call(self: Handler, request: Any, context: Context) -> Response:
            began, code = time.perf_counter(), grpc.StatusCode.OK
            with span_of_call(name, context.invocation_metadata()):
                try:
                    caller = self.keyring.caller(context.invocation_metadata() or ())
                    caller.check(name, (kind_from_proto(kind) for kind in kinds(request) if kind))
                    tenant = caller.tenant_of(request.tenant)
                    if (size := request.ByteSize()) > most_bytes:
                        raise InvalidArgument.of("request", f"has {size} bytes; send at most {most_bytes}")
                    with limit, structlog.contextvars.bound_contextvars(tenant=tenant, caller=caller.name):
                        response = await method(self, request, caller, tenant)
                except Exception as error:
                    code = set_status(context, error)
                    response = response_type()
            self.metrics.requests.labels(name, code.name).inc()
            self.metrics.request_seconds.labels(name).observe(time.perf_counter() - began)
            return response

        return call

    return decorate
