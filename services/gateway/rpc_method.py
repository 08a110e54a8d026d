"""How the gateway receives a call: the decorator of every public method.

The order of checks: API key and role, from the metadata; size and number of fields of the received bytes; readable
message; concurrency limit; then the method itself. The message is not even received before the key is known: gRPC hands
over a stream of bytes, also for a method with one message, which is the same on the wire.
"""

from __future__ import annotations

import asyncio
import functools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import Message

from services.common.errors import BudgetExpired, InvalidArgument
from services.common.limits import MAX_ID
from services.common.rpc import set_status
from services.common.telemetry import span_of_call
from services.gateway.message_limits import GATEWAY_SERVICE, RequestParser
from services.gateway.request_info import RequestInfo, current_request

_log = structlog.get_logger("kairos.access")

Response = TypeVar("Response", bound=Message)
Method = Callable[[Any, Any], Awaitable[Response]]
Context = grpc.aio.ServicerContext[Any, Any]
# Above so many bytes a message is checked and parsed in two steps of the event loop.
_LARGE = 64 << 10


def rpc_method(response_type: type[Response]) -> Callable[[Method[Response]], Callable[..., Awaitable[Response]]]:
    """Wraps `async def Method(self, request)`; `self` has authenticator, limit, idle_s and metrics.

    The result is to be registered as a stream_unary method without a deserializer. `request` is the parsed message, or
    an iterator of parsed messages if the contract says so. The request id is the metadata `x-request-id`, or a new one;
    the initial metadata of the answer repeat it.
    """

    def decorate(method: Method[Response]) -> Callable[..., Awaitable[Response]]:
        name = method.__name__
        parser, is_stream = RequestParser.of(name), GATEWAY_SERVICE.methods_by_name[name].client_streaming

        @functools.wraps(method)
        async def call(self: Any, _: Any, context: Context) -> Response:
            began, code, tenant = time.monotonic(), grpc.StatusCode.OK, ""
            metadata = [(str(key), value) for key, value in context.invocation_metadata() or ()]
            request_id = _request_id(metadata)
            self.metrics.in_flight.inc()
            with structlog.contextvars.bound_contextvars(request_id=request_id), span_of_call(name, metadata) as span:
                try:
                    tenant = self.authenticator.tenant_of(name, metadata)
                    await context.send_initial_metadata((("x-request-id", request_id),))
                    received = messages(context, parser, self.idle_s)
                    request = received if is_stream else await only_one(received)
                    # The budget starts when the message is here.
                    received_s, remaining_s = time.monotonic(), context.time_remaining()
                    deadline_s = None if remaining_s is None else received_s + remaining_s
                    current_request.set(RequestInfo(request_id, tenant, received_s, deadline_s))
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


async def messages(context: Context, parser: RequestParser, idle_s: float) -> AsyncIterator[Any]:
    """The messages of a call, each within its limits. Raises InvalidArgument, and BudgetExpired if the caller sends
    nothing for `idle_s` seconds.
    """
    while True:
        try:
            async with asyncio.timeout(idle_s):
                data = await context.read()
        except TimeoutError:
            raise BudgetExpired(f"no message came for {idle_s:g} s; call again, and send without a pause") from None
        if data is grpc.aio.EOF:
            return
        parser.check(data)
        if len(data) > _LARGE:
            await asyncio.sleep(0)
        yield parser.parse(data)


async def only_one(received: AsyncIterator[Any]) -> Any:
    """The message of a call that has one."""
    async for message in received:
        return message
    raise InvalidArgument.of("request", "is missing; send one message")


def _request_id(metadata: list[tuple[str, Any]]) -> str:
    sent = next((value for key, value in metadata if key == "x-request-id"), "")
    if isinstance(sent, str) and 1 <= len(sent) <= MAX_ID and sent.isprintable():
        return sent
    return uuid.uuid4().hex
