"""A decorator around every RPC method, `rpc`, or `rpc_stream` if it answers with a stream: caller, budget, number of
calls, logs, trace, errors as gRPC statuses.

It works under grpc.aio and Ray Serve. Serve drops rich details if a handler raises: the decorator sets the status on
the context and returns an empty response.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import grpc
import structlog
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from opentelemetry import trace

from services.common import errors
from services.common.call_limit import MOST_CALLS, CallLimit
from services.common.stage_access import doorkeeper
from services.common.telemetry import span_of_call

ERROR_DOMAIN = "kairos"
DETAILS_KEY = "grpc-status-details-bin"
# A status travels as metadata, which gRPC limits to 8 KiB: a larger status would reach the caller as an error about
# metadata. In bytes, before percent and base64 encoding: wrong fields 2,500, the message 700; a text 300 characters.
_FIELDS_BYTES = 2_500
_MESSAGE_BYTES = 700
_TEXT = 300
# At most, of the tags and lengths around one violation.
_FRAME_BYTES = 10

_CODES: list[tuple[type[errors.KairosError], grpc.StatusCode]] = [
    (errors.InvalidArgument, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (errors.Conflict, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.Aborted, grpc.StatusCode.ABORTED),
    (errors.BudgetExpired, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
]

_log = structlog.get_logger("kairos.rpc")

Response = TypeVar("Response", bound=Message)


class CallContext(Protocol):
    """The common part of grpc.aio's ServicerContext and Serve's RayServegRPCContext."""

    def set_code(self, code: Any) -> None: ...
    def set_details(self, details: str) -> None: ...
    def set_trailing_metadata(self, trailing_metadata: Any) -> None: ...
    def invocation_metadata(self) -> Any: ...


def rpc(
    response_type: type[Response], most_calls: int = MOST_CALLS
) -> Callable[[Callable[..., Awaitable[Response]]], Callable[..., Awaitable[Response]]]:
    """Wraps `async def Method(self, request)` into `async def Method(self, request, grpc_context)`.

    The parameter must have that very name: Serve passes its context by it. The process works on at most `most_calls` of
    the method at a time and refuses further ones. Each method has its own places: queries, imports and reads do not
    take each other's.
    """

    def decorate(method: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        limit = CallLimit(method.__name__, most_calls)

        # Without the default of functools.wraps: Serve must see `grpc_context` in the signature.
        @functools.wraps(method, assigned=("__module__", "__name__", "__qualname__", "__doc__"), updated=())
        async def call(self: Any, request: Any, grpc_context: CallContext) -> Response:
            response = response_type()
            with (
                structlog.contextvars.bound_contextvars(
                    request_id=request.context.request_id, tenant=request.context.tenant
                ),
                _status_of_errors(method.__name__, grpc_context),
            ):
                _check(request, grpc_context)
                with limit:
                    response = await method(self, request)
            return response

        del call.__wrapped__
        return call

    return decorate


def rpc_stream(
    response_type: type[Response], most_calls: int = MOST_CALLS
) -> Callable[[Callable[..., AsyncIterator[Response]]], Callable[..., AsyncIterator[Response]]]:
    """As `rpc`, for an asynchronous generator: `async def Method(self, request, metadata)` with `yield`. `metadata`:
    the texts of the call by key. A stream that fails ends with the status of the error.
    """

    def decorate(method: Callable[..., AsyncIterator[Response]]) -> Callable[..., AsyncIterator[Response]]:
        limit = CallLimit(method.__name__, most_calls)

        @functools.wraps(method, assigned=("__module__", "__name__", "__qualname__", "__doc__"), updated=())
        async def call(self: Any, request: Any, grpc_context: CallContext) -> AsyncIterator[Response]:
            # They end with the task of the call: a stream that is broken off is closed in another context.
            structlog.contextvars.bind_contextvars(request_id=request.context.request_id, tenant=request.context.tenant)
            with _status_of_errors(method.__name__, grpc_context) as failed:
                _check(request, grpc_context)
                with limit:
                    pairs = grpc_context.invocation_metadata() or ()
                    metadata = {key: value for key, value in pairs if isinstance(value, str)}
                    responses = method(self, request, metadata)
                    async with contextlib.aclosing(responses):  # type: ignore[type-var]
                        async for response in responses:
                            yield response
            # Serve's own proxy reads the status of a stream from the context that comes with a message.
            if failed and not hasattr(grpc_context, "time_remaining"):
                yield response_type()

        del call.__wrapped__
        return call

    return decorate


@contextlib.contextmanager
def _status_of_errors(method: str, grpc_context: CallContext) -> Iterator[list[Exception]]:
    """What is raised becomes the status of the call, and is in the list."""
    began, failed = time.perf_counter(), list[Exception]()
    with span_of_call(method, grpc_context.invocation_metadata()) as span:
        try:
            yield failed
        except Exception as error:
            set_status(grpc_context, error)
            span.set_status(trace.StatusCode.ERROR, type(error).__name__)
            failed.append(error)
        _log.debug("call", method=method, latency_ms=(time.perf_counter() - began) * 1e3)


def _check(request: Any, grpc_context: CallContext) -> None:
    """Refuses a caller without the secret, and a call without time."""
    doorkeeper.check(grpc_context.invocation_metadata())
    _shorten_budget(request, grpc_context)
    _refuse_expired(request)


def set_status(grpc_context: CallContext, error: Exception) -> grpc.StatusCode:
    """Sets code, message and google.rpc details of `error` on the call; returns the code."""
    code, message, details = describe(error)
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    grpc_context.set_code(code)
    grpc_context.set_details(message)
    # A list, because Serve appends it to a list of its own.
    grpc_context.set_trailing_metadata([(DETAILS_KEY, status.SerializeToString())])
    return code


def describe(error: Exception) -> tuple[grpc.StatusCode, str, list[Message]]:
    """(code, message, details) for the caller. The traceback of a defect is logged, not returned."""
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    if code is None or not isinstance(error, errors.KairosError):
        _log.error("internal error", exc_info=error)
        info = error_details_pb2.ErrorInfo(reason="INTERNAL", domain=ERROR_DOMAIN)
        return grpc.StatusCode.INTERNAL, "internal error; the service's log has it under this request's id", [info]
    message = str(error)
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata)
    details: list[Message] = [info]
    if isinstance(error, errors.InvalidArgument):
        bad, message = _bad_request(error.violations)
        details.append(bad)
    if isinstance(error, errors.Overloaded):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(retry)
    return code, message.encode()[:_MESSAGE_BYTES].decode(errors="ignore"), details


def _bad_request(violations: Sequence[errors.FieldViolation]) -> tuple[Message, str]:
    """As many of the first violations as fit, at least one, and the message about all of them."""
    bad, left = error_details_pb2.BadRequest(), _FIELDS_BYTES
    for violation in violations:
        field, description = violation.field[:_TEXT], violation.description[:_TEXT]
        left -= len(field.encode()) + len(description.encode()) + _FRAME_BYTES
        if left < 0 and bad.field_violations:
            break
        bad.field_violations.add(field=field, description=description)
    more = len(violations) - len(bad.field_violations)
    first = "; ".join(f"{entry.field}: {entry.description}" for entry in bad.field_violations)
    return bad, f"{len(violations)} fields are wrong, {more} of them are not listed; {first}" if more else first


def _shorten_budget(request: Any, grpc_context: Any) -> None:
    """gRPC's own deadline replaces a later budget: it also counts the time that the call has waited to be read.

    Only gRPC's own context has it. Calls through Serve's Python proxy have the budget alone.
    """
    time_remaining = getattr(grpc_context, "time_remaining", None)
    left_s = None if time_remaining is None else time_remaining()
    if left_s is None:
        return
    left_ns, budget = int(left_s * 1e9), request.context.budget
    if not budget.HasField("remaining") or left_ns < budget.remaining.ToNanoseconds():
        budget.remaining.FromNanoseconds(left_ns)


def _refuse_expired(request: Any) -> None:
    context = request.context
    if context.HasField("budget") and context.budget.HasField("remaining"):
        remaining = context.budget.remaining
        if remaining.seconds < 0 or remaining.nanos < 0 or remaining.seconds == remaining.nanos == 0:
            raise errors.BudgetExpired("context.budget.remaining is not positive; the work was not begun")
