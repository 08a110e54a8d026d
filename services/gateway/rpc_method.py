"""How the gateway receives a call: the decorator of every public method.

The order of checks: API key and role, from the metadata; quotas of the key; size and number of fields of the received
bytes; readable message; concurrency limit; then the method itself. The message is not even received before the key is
known: gRPC hands over a stream of bytes, also for a method with one message, which is the same on the wire.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import Message

from kairos.gateway.v1 import conversation_pb2
from services.common.errors import KairosError, Overloaded
from services.common.limits import MAX_ID
from services.common.rpc import set_status
from services.common.telemetry import span_of_call
from services.gateway.domain.criticality import CONVERSE
from services.gateway.domain.quotas import QuotaExceeded
from services.gateway.message_limits import GATEWAY_SERVICE, RequestParser
from services.gateway.receiving import Context, of_open_call
from services.gateway.reception import Reception
from services.gateway.request_info import RequestInfo, current_request
from services.gateway.security import Caller

_log = structlog.get_logger("kairos.access")

Response = TypeVar("Response", bound=Message)
# Returns the answer, or an iterator of its messages.
Method = Callable[[Any, Any], Any]
Metadata = Sequence[tuple[str, Any]]


def rpc_method(response_type: type[Response]) -> Callable[[Method], Callable[..., Awaitable[Response]]]:
    """Wraps `async def Method(self, request)`; `self` has reception and metrics.

    The result is to be registered without a deserializer as a method that receives a stream, and that sends one if the
    contract says so: the method is then an asynchronous generator, and what it raises ends the stream. `request` is the
    parsed message, or an iterator of parsed messages if the contract says so. The request id is the metadata
    `x-request-id`, or a new one; the initial metadata of the answer repeat it.
    """

    def decorate(method: Method) -> Callable[..., Awaitable[Response]]:
        name = method.__name__
        descriptor = GATEWAY_SERVICE.methods_by_name[name]
        parser, is_stream, sends_stream = (
            RequestParser.of(name),
            descriptor.client_streaming,
            descriptor.server_streaming,
        )

        async def answer(self: Any, context: Context, message: Any) -> Response:
            """Of a method that streams, sends the messages and returns the last one."""
            if not sends_stream:
                response: Response = await method(self, message)
                return response
            response = response_type()
            async with contextlib.aclosing(method(self, message)) as messages:
                async for response in messages:
                    await of_open_call(context.write(response))
            return response

        async def receive_and_answer(
            self: Any, context: Context, metadata: Metadata, request_id: str, caller: Caller
        ) -> Response:
            reception: Reception = self.reception

            def begin() -> RequestInfo:
                """The budget of a call with one message starts when the message is here."""
                now_s, remaining_s = time.monotonic(), context.time_remaining()
                deadline_s = None if remaining_s is None else now_s + remaining_s
                authorization = _authorization(metadata) if sends_stream else ""
                info = RequestInfo(request_id, caller.tenant, now_s, deadline_s, caller.role, authorization)
                current_request.set(info)
                return info

            if is_stream:
                begin()
                check = functools.partial(reception.authenticator.check_still, caller, name, metadata)
                async with contextlib.aclosing(reception.receiver.each(context, parser, check)) as messages:
                    return await answer(self, context, messages)
            async with (
                reception.receiver.one(context, parser, caller) as message,
                reception.working(name, message, begin()),
            ):
                return await answer(self, context, message)

        async def work(self: Any, context: Context, metadata: Metadata, caller: Caller) -> Response:
            """Receives the message, calls the method and wraps what it raises."""
            began, code = time.monotonic(), grpc.StatusCode.OK
            request_id = _request_id(metadata)
            of_call = structlog.contextvars.bound_contextvars(request_id=request_id, method=name, tenant=caller.tenant)
            with of_call, span_of_call(name, metadata) as span:
                try:
                    await of_open_call(context.send_initial_metadata((("x-request-id", request_id),)))
                    response = await receive_and_answer(self, context, metadata, request_id, caller)
                except Exception as error:
                    code, response = set_status(context, error), response_type()
                span.set_attributes(
                    {"kairos.request_id": request_id, "kairos.tenant": caller.tenant, "kairos.code": code.name}
                )
                degradations = _degradation_count(response)
                if degradations:
                    self.metrics.degraded_answers.labels(name).inc()
                latency_s = self.metrics.count_request(name, code.name, began)
                _log.info(
                    "call",
                    code=code.name,
                    latency_ms=round(latency_s * 1e3, 2),
                    degradations=degradations,
                )
                return response

        @functools.wraps(method)
        async def call(self: Any, _: Any, context: Context) -> Response:
            now_s, caller, metrics, reception = time.monotonic(), Caller(), self.metrics, self.reception
            metadata: Metadata = tuple(context.invocation_metadata() or ())
            in_flight = metrics.import_streams if is_stream else metrics.in_flight
            in_flight = metrics.conversations if name == CONVERSE else in_flight
            try:
                caller = reception.authenticator.caller(name, metadata)
                with reception.place(name, caller, is_stream, now_s):
                    reception.require_room(name, context.time_remaining())
                    with in_flight.track_inprogress():
                        return await work(self, context, metadata, caller)
            except QuotaExceeded as error:
                # Neither logged nor counted among the calls: the refusal is cheap, and no fault of the suite.
                metrics.quota_refusals.labels(caller.tenant, error.quota).inc()
                await context.abort(*_refusal(str(error), error.quota, math.ceil(error.retry_after_s * 100)))
            except Overloaded as error:
                # As cheap, but counted among the calls.
                metrics.overload_refusals.labels(name).inc()
                metrics.count_request(name, grpc.StatusCode.RESOURCE_EXHAUSTED.name, now_s)
                await context.abort(*_refusal(str(error), "", math.ceil(error.retry_after_s * 100)))
            except KairosError as error:
                code = set_status(context, error)
                metrics.count_request(name, code.name, now_s)
                if not reception.logged_refusals.take(now_s):
                    _log.info("refused", method=name, code=code.name, tenant=caller.tenant, error=str(error))
            return response_type()

        return call

    return decorate


@functools.lru_cache(maxsize=4_096)
def _refusal(message: str, quota: str, retry_after_cs: int) -> tuple[grpc.StatusCode, str, Any]:
    """Code, message and trailing metadata, made once for each hundredth of a second: a refusal must cost little.

    `quota`: empty if the caller has exceeded none and the gateway is full.
    """
    status, retry_after_s = _Status(), retry_after_cs / 100
    error = QuotaExceeded(message, retry_after_s, quota) if quota else Overloaded(message, retry_after_s)
    set_status(status, error)
    return status.code, status.details, status.metadata


class _Status:
    """Keeps the status that is set on it."""

    code = grpc.StatusCode.OK
    details = ""
    metadata: Any = ()

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self.metadata = tuple(trailing_metadata)

    def invocation_metadata(self) -> Any:
        return ()


def _degradation_count(response: Any) -> int:
    """Of an answer. A stream names them in its last message."""
    of = response.event.ended if isinstance(response, conversation_pb2.ConverseResponse) else response
    return len(getattr(of, "degradations", ()))


def _authorization(metadata: Metadata) -> str:
    return next((value for key, value in metadata if key == "authorization" and isinstance(value, str)), "")


def _request_id(metadata: Metadata) -> str:
    sent = next((value for key, value in metadata if key == "x-request-id"), "")
    if isinstance(sent, str) and 1 <= len(sent) <= MAX_ID and sent.isprintable():
        return sent
    return uuid.uuid4().hex
