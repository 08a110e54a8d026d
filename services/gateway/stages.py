"""Calls to the stages: inside the budget, or not at all; what went wrong becomes a degradation."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from opentelemetry import propagate, trace

from kairos.common.v1 import common_pb2
from services.common.convert import context_to_proto
from services.common.errors import Conflict, FieldViolation, InvalidArgument, NotFound, Unavailable
from services.common.rpc import DETAILS_KEY, ERROR_DOMAIN
from services.gateway.call import CallInfo
from services.gateway.domain.budget import ObservedMedian, RequestBudget, Stage
from services.gateway.domain.circuit_breaker import CircuitBreaker
from services.gateway.metrics import Metrics

Response = TypeVar("Response", bound=Message)
Method = Callable[..., Awaitable[Response]]

STAGE_NUMBERS = {
    Stage.QUERY_ENCODER: common_pb2.STAGE_QUERY_ENCODER,
    Stage.RETRIEVAL: common_pb2.STAGE_RETRIEVAL,
    Stage.RANKER: common_pb2.STAGE_RANKER,
    Stage.PRICING: common_pb2.STAGE_PRICING,
}
_LATE = common_pb2.DEGRADATION_REASON_LATE
_UNAVAILABLE = common_pb2.DEGRADATION_REASON_UNAVAILABLE
_ERROR = common_pb2.DEGRADATION_REASON_ERROR
_NO_BUDGET = common_pb2.DEGRADATION_REASON_SKIPPED_NO_BUDGET
_OPEN = common_pb2.DEGRADATION_REASON_CIRCUIT_OPEN


@dataclass
class StageHealth:
    """What the gateway knows of one stage; shared by all requests."""

    breaker: CircuitBreaker
    late_is_failure_s: float
    # By the name of the request's message: an import's batch tells nothing of a query's time.
    medians: defaultdict[str, ObservedMedian] = field(default_factory=lambda: defaultdict(ObservedMedian))


class StageFailed(Unavailable):
    """Where a call has no fallback it reaches the caller as it is."""

    def __init__(self, stage: Stage, degradation: common_pb2.DegradationReason.ValueType, detail: str) -> None:
        super().__init__(f"{stage.value}: {detail}; try again")
        self.stage, self.degradation, self.detail = stage, degradation, detail


@dataclass
class Request:
    """One public request on its way through the stages: its budget, and what happened so far."""

    call: CallInfo
    budget: RequestBudget
    stages: dict[Stage, StageHealth]
    metrics: Metrics
    locale: str = ""
    degradations: list[common_pb2.Degradation] = field(default_factory=list)
    timings: list[common_pb2.StageTiming] = field(default_factory=list)

    async def call_or_degrade(
        self, stage: Stage, method: Method[Response], request: Any, later: Sequence[Stage], fallback: str
    ) -> Response | None:
        """The stage's answer, or None and a degradation that names `fallback`.

        Raises InvalidArgument, NotFound or Conflict where the stage found the caller's own request wrong.
        """
        try:
            return await self.call_stage(stage, method, request, later)
        except StageFailed as failed:
            self.degrade(stage, failed.degradation, fallback, failed.detail)
            return None

    async def call_stage(
        self, stage: Stage, method: Method[Response], request: Any, later: Iterable[Stage] = ()
    ) -> Response:
        """The stage's answer. Raises StageFailed."""
        health, began = self.stages[stage], time.monotonic()
        median = health.medians[type(request).__name__]
        timeout_s = self.budget.timeout_s(stage, later, began)
        if median.would_not_fit(timeout_s):
            raise self._not_called(stage, _NO_BUDGET, f"{timeout_s * 1e3:.1f} ms are left, less than it usually takes")
        if not health.breaker.allows(began):
            raise self._not_called(stage, _OPEN, "it kept failing and is left alone for a moment")
        try:
            response = await self._send(stage, method, request, began + timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._failed(stage, error, timeout_s, began) from None
        latency_s = time.monotonic() - began
        health.breaker.succeeded()
        median.observe(latency_s)
        self._record(stage, "ok", began, timeout_s)
        return response

    def degrade(
        self, stage: Stage, reason: common_pb2.DegradationReason.ValueType, fallback: str, detail: str = ""
    ) -> None:
        self.degradations.append(
            common_pb2.Degradation(stage=STAGE_NUMBERS[stage], reason=reason, fallback=fallback, detail=detail)
        )
        self.metrics.degradations.labels(stage.value, common_pb2.DegradationReason.Name(reason)).inc()

    async def _send(self, stage: Stage, method: Method[Response], request: Any, deadline_s: float) -> Response:
        """One try, and one more where the stage could not be reached in time: all stage calls are idempotent."""
        tracer = trace.get_tracer("kairos")
        with tracer.start_as_current_span(stage.value, kind=trace.SpanKind.CLIENT):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            metadata = (("application", stage.value), *carrier.items())
            for is_last in (False, True):
                request.context.CopyFrom(context_to_proto(self.call.context(deadline_s, self.locale)))
                try:
                    return await method(request, timeout=deadline_s - time.monotonic(), metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    if is_last or error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() >= deadline_s:
                        raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _failed(self, stage: Stage, error: grpc.aio.AioRpcError, timeout_s: float, began: float) -> Exception:
        health, code = self.stages[stage], error.code()
        if code in _REFUSALS and (code is grpc.StatusCode.INVALID_ARGUMENT or _is_of_a_stage(error)):
            # The stage is well: it is the request that asks for what cannot be.
            health.breaker.succeeded()
            self._record(stage, "refused", began, timeout_s)
            return _REFUSALS[code](error)
        reason = {
            grpc.StatusCode.DEADLINE_EXCEEDED: _LATE,
            grpc.StatusCode.CANCELLED: _LATE,
            grpc.StatusCode.UNAVAILABLE: _UNAVAILABLE,
        }.get(code, _ERROR)
        if reason is not _LATE or timeout_s >= health.late_is_failure_s:
            health.breaker.failed(time.monotonic())
        self._record(stage, code.name.lower(), began, timeout_s)
        return StageFailed(stage, reason, f"{code.name}: {error.details()}")

    def _not_called(self, stage: Stage, reason: common_pb2.DegradationReason.ValueType, detail: str) -> StageFailed:
        self.metrics.stage_calls.labels(stage.value, "skipped").inc()
        start_ms = (time.monotonic() - self.call.received_s) * 1e3
        self.timings.append(common_pb2.StageTiming(stage=STAGE_NUMBERS[stage], start_ms=start_ms))
        return StageFailed(stage, reason, detail)

    def _record(self, stage: Stage, outcome: str, began: float, timeout_s: float) -> None:
        latency_s = time.monotonic() - began
        self.metrics.stage_calls.labels(stage.value, outcome).inc()
        self.metrics.circuit_open.labels(stage.value).set(self.stages[stage].breaker.is_open)
        self.metrics.stage_seconds.labels(stage.value).observe(latency_s)
        self.timings.append(
            common_pb2.StageTiming(
                stage=STAGE_NUMBERS[stage],
                start_ms=(began - self.call.received_s) * 1e3,
                latency_ms=latency_s * 1e3,
                budget_ms=timeout_s * 1e3,
            )
        )


def _as_invalid_argument(error: grpc.aio.AioRpcError) -> InvalidArgument:
    """The stage's own field violations."""
    bad = error_details_pb2.BadRequest()
    for detail in _details(error):
        if detail.Unpack(bad):
            return InvalidArgument(*(FieldViolation(v.field, v.description) for v in bad.field_violations))
    return InvalidArgument.of("request", error.details() or "is invalid")


def _is_of_a_stage(error: grpc.aio.AioRpcError) -> bool:
    """Whether a stage itself said so: the ingress answers NOT_FOUND for an application that is just not there."""
    info = error_details_pb2.ErrorInfo()
    return any(detail.Unpack(info) and info.domain == ERROR_DOMAIN for detail in _details(error))


def _details(error: grpc.aio.AioRpcError) -> Sequence[Any]:
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status.ParseFromString(value)
    return list(status.details)


_REFUSALS: dict[grpc.StatusCode, Callable[[grpc.aio.AioRpcError], Exception]] = {
    grpc.StatusCode.INVALID_ARGUMENT: _as_invalid_argument,
    grpc.StatusCode.NOT_FOUND: lambda error: NotFound(error.details() or "there is no such thing"),
    grpc.StatusCode.FAILED_PRECONDITION: lambda error: Conflict(error.details() or "the state does not allow it"),
}
