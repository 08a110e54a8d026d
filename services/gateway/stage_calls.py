"""All calls to stages: inside the budget or not at all, with circuit breaker, tracing, metrics and degradations."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from opentelemetry import propagate, trace

from kairos.common.v1 import common_pb2
from services.common.convert import context_to_proto
from services.gateway.domain.budget import ObservedMedian, RequestBudget, Stage, StageShare
from services.gateway.domain.circuit_breaker import CircuitBreaker
from services.gateway.metrics import Metrics
from services.gateway.request_info import RequestInfo
from services.gateway.settings import GatewaySettings
from services.gateway.stage_errors import StageFailed, StageOverloaded, failure_of, refusal_of, skipped

Response = TypeVar("Response", bound=Message)
Method = Callable[..., Awaitable[Response]]

STAGE_NUMBERS = {
    Stage.QUERY_ENCODER: common_pb2.STAGE_QUERY_ENCODER,
    Stage.RETRIEVAL: common_pb2.STAGE_RETRIEVAL,
    Stage.RANKER: common_pb2.STAGE_RANKER,
    Stage.PRICING: common_pb2.STAGE_PRICING,
}
# Writes, reads by id and background work: each call may take all of the remaining time.
_WHOLE = {stage: StageShare(cap=1.0, keep=0.0) for stage in Stage}


@dataclass
class StageHealth:
    """The observed state of one stage, shared by all requests."""

    breaker: CircuitBreaker
    late_is_failure_s: float
    # By message type and origin: the latency of an import's batch says nothing about the latency of a query.
    medians: defaultdict[tuple[str, bool], ObservedMedian] = field(default_factory=lambda: defaultdict(ObservedMedian))


class StageAccess:
    """Creates the StageCalls of each request. There is one StageAccess in a gateway."""

    def __init__(self, settings: GatewaySettings, metrics: Metrics) -> None:
        limits = settings.limits
        self._budget, self._shares, self._metrics = settings.budget, settings.stages.shares(), metrics
        self.health = {
            stage: StageHealth(
                CircuitBreaker(limits.failures_to_open, limits.open_ms / 1e3), limits.late_is_failure_ms / 1e3
            )
            for stage in Stage
        }

    def for_read(self, info: RequestInfo, locale: str, default_ms: float = 0.0) -> StageCalls:
        """For a shopper's request: the caller's deadline is the budget, up to the maximum, else the default."""
        own_s = (default_ms or self._budget.default_ms) / 1e3
        total_s = own_s if info.deadline_s is None else info.deadline_s - info.received_s
        return self._calls(info, info.received_s, min(total_s, self._budget.maximum_ms / 1e3), self._shares, locale)

    def for_write(self, info: RequestInfo) -> StageCalls:
        """For a request that no shopper waits for. The budget starts now: an import creates one for each batch."""
        now_s, own_s = time.monotonic(), self._budget.write_ms / 1e3
        total_s = own_s if info.deadline_s is None else min(own_s, info.deadline_s - now_s)
        return self._calls(info, now_s, total_s, _WHOLE)

    def for_background(self, name: str, tenant: str, total_s: float) -> StageCalls:
        """For work that belongs to no request. `name` is the request id in logs."""
        info = RequestInfo(name, tenant)
        return self._calls(info, info.received_s, total_s, _WHOLE, is_background=True)

    def _calls(
        self,
        info: RequestInfo,
        from_s: float,
        total_s: float,
        shares: dict[Stage, StageShare],
        locale: str = "",
        is_background: bool = False,
    ) -> StageCalls:
        budget = RequestBudget(from_s, from_s + total_s, shares, self._budget.join)
        return StageCalls(info, budget, self.health, self._metrics, locale, is_background)


@dataclass
class StageCalls:
    """The stage calls of one request: its budget, and the timings and degradations so far."""

    info: RequestInfo
    budget: RequestBudget
    health: dict[Stage, StageHealth]
    metrics: Metrics
    locale: str = ""
    is_background: bool = False
    degradations: list[common_pb2.Degradation] = field(default_factory=list)
    timings: list[common_pb2.StageTiming] = field(default_factory=list)

    async def call_or_degrade(
        self,
        stage: Stage,
        method: Method[Response],
        request: Any,
        later: Sequence[Stage],
        fallback: str,
        cap: float = 1.0,
    ) -> Response | None:
        """The stage's answer, or None and a degradation that names `fallback`.

        Raises InvalidArgument, NotFound or Conflict if the stage refuses the request.
        """
        try:
            return await self.call(stage, method, request, later, cap)
        except StageFailed as failed:
            self.degrade(stage, failed.degradation, fallback, failed.detail)
            return None

    async def call(
        self, stage: Stage, method: Method[Response], request: Any, later: Iterable[Stage] = (), cap: float = 1.0
    ) -> Response:
        """The stage's answer. Raises StageFailed, or what the stage refuses the request with.

        `later`: stages that are called afterwards; `cap`: most of the budget that this call may take, 0 to 1.
        """
        health, began = self.health[stage], time.monotonic()
        median = health.medians[type(request).__name__, self.is_background]
        timeout_s = min(self.budget.timeout_s(stage, later, began), cap * self.budget.total_s)
        if median.would_not_fit(timeout_s):
            reason = common_pb2.DEGRADATION_REASON_SKIPPED_NO_BUDGET
            raise self._skipped(stage, reason, f"{timeout_s * 1e3:.1f} ms are left, less than the stage usually takes")
        if not health.breaker.allows(began):
            reason = common_pb2.DEGRADATION_REASON_CIRCUIT_OPEN
            raise self._skipped(stage, reason, "the last calls failed; the gateway pauses calls to the stage")
        try:
            response = await self._send(stage, method, request, began + timeout_s)
        except grpc.aio.AioRpcError as error:
            raise self._failed(stage, error, timeout_s, began) from None
        latency_s = time.monotonic() - began
        health.breaker.succeeded()
        median.observe(latency_s)
        self._record(stage, "ok", began, timeout_s)
        return response

    async def probe(self, stage: Stage, method: Method[Response], request: Any) -> bool:
        """Whether the stage can be reached, also while its circuit is open.

        An answer to an empty request says nothing about real work: it changes no circuit, median, metric or trace.
        """
        try:
            await self._try_twice(stage, method, request, self.budget.deadline_s, {})
        except grpc.aio.AioRpcError as error:
            # A stage that works refuses an empty request.
            return error.code() is grpc.StatusCode.INVALID_ARGUMENT
        return True

    def degrade(
        self, stage: Stage, reason: common_pb2.DegradationReason.ValueType, fallback: str, detail: str = ""
    ) -> None:
        self.degradations.append(
            common_pb2.Degradation(stage=STAGE_NUMBERS[stage], reason=reason, fallback=fallback, detail=detail)
        )
        self.metrics.degradations.labels(stage.value, common_pb2.DegradationReason.Name(reason)).inc()

    async def _send(self, stage: Stage, method: Method[Response], request: Any, deadline_s: float) -> Response:
        with trace.get_tracer("kairos").start_as_current_span(stage.value, kind=trace.SpanKind.CLIENT):
            carrier: dict[str, str] = {}
            propagate.inject(carrier)
            return await self._try_twice(stage, method, request, deadline_s, carrier)

    async def _try_twice(
        self, stage: Stage, method: Method[Response], request: Any, deadline_s: float, carrier: dict[str, str]
    ) -> Response:
        """A second try only if the stage could not be reached: all stage calls are idempotent."""
        metadata = (("application", stage.value), *carrier.items())
        for is_last in (False, True):
            request.context.CopyFrom(context_to_proto(self.info.context(deadline_s, self.locale)))
            try:
                return await method(request, timeout=deadline_s - time.monotonic(), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if is_last or error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() >= deadline_s:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _failed(self, stage: Stage, error: grpc.aio.AioRpcError, timeout_s: float, began: float) -> Exception:
        health = self.health[stage]
        if refusal := refusal_of(error):
            # The stage works: the request itself is wrong.
            health.breaker.succeeded()
            self._record(stage, "refused", began, timeout_s)
            return refusal
        failure = failure_of(stage, error)
        is_late = failure.degradation == common_pb2.DEGRADATION_REASON_LATE
        # A stage that refuses or that had little time is not down.
        if not isinstance(failure, StageOverloaded) and (not is_late or timeout_s >= health.late_is_failure_s):
            health.breaker.failed(time.monotonic())
        self._record(stage, error.code().name.lower(), began, timeout_s)
        return failure

    def _skipped(self, stage: Stage, reason: common_pb2.DegradationReason.ValueType, detail: str) -> StageFailed:
        self.metrics.stage_calls.labels(stage.value, "skipped").inc()
        start_ms = (time.monotonic() - self.info.received_s) * 1e3
        self.timings.append(common_pb2.StageTiming(stage=STAGE_NUMBERS[stage], start_ms=start_ms))
        return skipped(stage, reason, detail)

    def _record(self, stage: Stage, outcome: str, began: float, timeout_s: float) -> None:
        latency_s = time.monotonic() - began
        self.metrics.stage_calls.labels(stage.value, outcome).inc()
        self.metrics.circuit_open.labels(stage.value).set(self.health[stage].breaker.is_open)
        self.metrics.stage_seconds.labels(stage.value).observe(latency_s)
        self.timings.append(
            common_pb2.StageTiming(
                stage=STAGE_NUMBERS[stage],
                start_ms=(began - self.info.received_s) * 1e3,
                latency_ms=latency_s * 1e3,
                budget_ms=timeout_s * 1e3,
            )
        )
