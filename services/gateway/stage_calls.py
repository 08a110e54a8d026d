"""All calls to stages: inside the budget or not at all, with limits, breaker, tracing, metrics and degradations."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from kairos.common.v1 import common_pb2
from services.common.convert import context_to_proto
from services.common.telemetry import span_of_stage
from services.common.visibility import GENERAL, SEES_ALL, Viewing
from services.gateway.domain.budget import RequestBudget, Stage, StageShare
from services.gateway.domain.experiments import NOT_ASSIGNED, Assignment
from services.gateway.domain.gateway_limit import GatewayLimit
from services.gateway.metrics import Metrics
from services.gateway.request_info import RequestInfo
from services.gateway.settings import GatewaySettings
from services.gateway.stage_errors import StageFailed, StageOverloaded, broken, failure_of, refusal_of, skipped
from services.gateway.stage_guard import CallKind, Origin, StageGuard

Response = TypeVar("Response", bound=Message)
Method = Callable[..., Awaitable[Response]]

# By the locale of the call, the type of the request and its bytes.
Answers = dict[tuple[str, str, bytes], Any]

STAGE_NUMBERS = {
    Stage.QUERY_ENCODER: common_pb2.STAGE_QUERY_ENCODER,
    Stage.RETRIEVAL: common_pb2.STAGE_RETRIEVAL,
    Stage.RANKER: common_pb2.STAGE_RANKER,
    Stage.SPONSORED: common_pb2.STAGE_SPONSORED,
    Stage.PRICING: common_pb2.STAGE_PRICING,
    Stage.ASSISTANT: common_pb2.STAGE_ASSISTANT,
}
# Writes, reads by id and background work: each call may take all of the remaining time.
_WHOLE = {stage: StageShare(cap=1.0, keep=0.0) for stage in Stage}
_LATE = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED)


class StageAccess:
    """Creates the StageCalls of each request. There is one StageAccess in a gateway.

    `clock` is monotonic, in seconds. `list_price_only`: whether computed prices are switched off for a tenant.
    """

    def __init__(
        self, settings: GatewaySettings, metrics: Metrics, clock: Callable[[], float] = time.monotonic,
        list_price_only: Callable[[str], bool] = lambda _: False,
    ) -> None:  # fmt: skip
        self.list_price_only = list_price_only
        limits, self._budget = settings.limits, settings.budget
        self._shares, self._metrics, self._clock = settings.stages.shares(), metrics, clock
        self.guards = {stage: StageGuard(stage, limits, metrics) for stage in Stage}
        self.limit = GatewayLimit(
            limits.minimum_in_flight, limits.maximum_in_flight, self._budget.reserve_ms / 1e3,
            limits.retry_after_ms / 1e3, clock,
        )  # fmt: skip
        metrics.watch_limit("gateway", self.limit.places)

    def budget_s(self, deadline_s: float | None, default_ms: float = 0.0) -> float:
        """The time of a shopper's request: what its deadline leaves, up to the maximum; without one the default."""
        own_s = (default_ms or self._budget.default_ms) / 1e3 if deadline_s is None else deadline_s
        return min(own_s, self._budget.maximum_ms / 1e3)

    def for_read(
        self,
        info: RequestInfo,
        locale: str,
        default_ms: float = 0.0,
        assignment: Assignment = NOT_ASSIGNED,
        viewing: Viewing = GENERAL,
    ) -> StageCalls:
        """For a shopper's request: the caller's deadline is the budget, up to the maximum, else the default."""
        given_s = None if info.deadline_s is None else info.deadline_s - info.received_s
        total_s = self.budget_s(given_s, default_ms)
        calls = self._calls(info, info.received_s, total_s, self._shares, Origin.SHOPPER, locale, assignment)
        calls.viewing = viewing
        return calls

    def for_write(self, info: RequestInfo) -> StageCalls:
        """For a request that no shopper waits for. The budget starts now: an import creates one for each batch."""
        now_s, own_s = self._clock(), self._budget.write_ms / 1e3
        total_s = own_s if info.deadline_s is None else min(own_s, info.deadline_s - now_s)
        calls = self._calls(info, now_s, total_s, _WHOLE, Origin.WRITE)
        calls.viewing = SEES_ALL
        return calls

    def for_conversation(self, info: RequestInfo, locale: str) -> StageCalls:
        """For a turn of a conversation: the caller's deadline is the budget, up to that of conversations."""
        total_s = self._budget.converse_ms / 1e3
        if info.deadline_s is not None:
            total_s = min(total_s, info.deadline_s - info.received_s)
        return self._calls(info, info.received_s, total_s, self._shares, Origin.WRITE, locale)

    def for_background(
        self,
        name: str,
        tenant: str,
        total_s: float,
        answers: Answers | None = None,
        assignment: Assignment = NOT_ASSIGNED,
        viewing: Viewing = GENERAL,
    ) -> StageCalls:
        """For work that belongs to no request. `name` is the request id in logs.

        With `answers`, a request that equals one of an earlier call with the same `answers` is not sent again.
        """
        info = RequestInfo(name, tenant, self._clock())
        calls = self._calls(info, info.received_s, total_s, _WHOLE, Origin.BACKGROUND)
        return replace(calls, answers=answers, assignment=assignment, viewing=viewing)

    def _calls(
        self,
        info: RequestInfo,
        from_s: float,
        total_s: float,
        shares: Mapping[Stage, StageShare],
        origin: Origin,
        locale: str = "",
        assignment: Assignment = NOT_ASSIGNED,
    ) -> StageCalls:
        reserve_s = max(self.limit.reserve_s, self._budget.join * total_s)
        budget = RequestBudget(from_s, from_s + total_s, shares, reserve_s)
        is_list_price_only = self.list_price_only(info.tenant)
        return StageCalls(
            info, budget, self.guards, self.limit, self._metrics, self._clock, origin, is_list_price_only, locale,
            assignment=assignment,
        )  # fmt: skip


@dataclass
class StageCalls:
    """The stage calls of one request: its budget, and the timings and degradations so far."""

    info: RequestInfo
    budget: RequestBudget
    guards: Mapping[Stage, StageGuard]
    limit: GatewayLimit
    metrics: Metrics
    clock: Callable[[], float]
    origin: Origin
    # Whether computed prices are switched off. One answer has one kind of prices.
    is_list_price_only: bool = False
    locale: str = ""
    answers: Answers | None = None
    # The arms of experiments.
    assignment: Assignment = NOT_ASSIGNED
    # Products that moderation does not show there are as if unknown.
    viewing: Viewing = GENERAL
    degradations: list[common_pb2.Degradation] = field(default_factory=list)
    # Stage, start, latency and budget of each call, in seconds; the last two are 0 for one that was skipped.
    _timings: list[tuple[Stage, float, float, float]] = field(default_factory=list)

    @property
    def timings(self) -> list[common_pb2.StageTiming]:
        """One bar of the latency waterfall for each call so far."""
        return [
            common_pb2.StageTiming(
                stage=STAGE_NUMBERS[stage], start_ms=(began_s - self.info.received_s) * 1e3, latency_ms=latency_s * 1e3,
                budget_ms=budget_s * 1e3,
            )
            for stage, began_s, latency_s, budget_s in sorted(self._timings, key=lambda entry: entry[1])
        ]  # fmt: skip

    async def call_or_degrade(
        self,
        stage: Stage,
        method: Method[Response],
        request: Any,
        later: Sequence[Stage],
        fallback: str,
        cap: float = 1.0,
        is_valid: Callable[[Response], bool] | None = None,
    ) -> Response | None:
        """The stage's answer, or None and a degradation that names `fallback`.

        Raises InvalidArgument, NotFound or Conflict if the stage refuses the request.
        """
        try:
            return await self.call(stage, method, request, later, cap, is_valid)
        except StageFailed as failed:
            self.degrade(stage, failed.degradation, fallback, failed.detail)
            return None

    async def call(
        self,
        stage: Stage,
        method: Method[Response],
        request: Any,
        later: Iterable[Stage] = (),
        cap: float = 1.0,
        is_valid: Callable[[Response], bool] | None = None,
    ) -> Response:
        """The stage's answer. Raises StageFailed, or what the stage refuses the request with.

        `later`: stages that are called afterwards; `cap`: most of the budget that this call may take, 0 to 1;
        `is_valid`: whether the answer keeps the contract, if a broken one would harm.
        """
        if self.answers is None:
            return await self._call(stage, method, request, later, cap, is_valid)
        key = self.locale, type(request).__name__, request.SerializeToString(deterministic=True)
        if key not in self.answers:
            self.answers[key] = await self._call(stage, method, request, later, cap, is_valid)
        # A copy, as flows change what they get.
        answer: Response = type(self.answers[key])()
        answer.CopyFrom(self.answers[key])
        return answer

    async def _call(
        self,
        stage: Stage,
        method: Method[Response],
        request: Any,
        later: Iterable[Stage],
        cap: float,
        is_valid: Callable[[Response], bool] | None,
    ) -> Response:
        guard, began_s = self.guards[stage], self.clock()
        kind = guard.kind(type(request).__name__, self.origin)
        usual_s = {other: self.guards[other].usual_s for other in later}
        timeout_s = min(self.budget.timeout_s(stage, usual_s, began_s), cap * self.budget.total_s)
        if timeout_s <= 0 or not kind.is_worth_calling(timeout_s, began_s):
            reason = common_pb2.DEGRADATION_REASON_SKIPPED_NO_BUDGET
            raise self.skip(stage, reason, f"{timeout_s * 1e3:.1f} ms are left, less than the stage needs")
        if not guard.breaker.allows(began_s):
            reason = common_pb2.DEGRADATION_REASON_CIRCUIT_OPEN
            raise self.skip(stage, reason, "the last calls failed; the gateway pauses calls to the stage")
        work = self.info.work
        work.begin(began_s)
        try:
            if kind.places is None:
                return await self._send(guard, kind, method, request, began_s, timeout_s, is_valid)
            if not await kind.places.enter(timeout_s - kind.base.typical_s):
                reason = common_pb2.DEGRADATION_REASON_OVERLOADED
                raise self.skip(stage, reason, "the stage has as many calls as it can answer in time")
            try:
                return await self._send(guard, kind, method, request, began_s, timeout_s, is_valid)
            finally:
                kind.places.leave()
        finally:
            work.end(self.clock())

    async def probe(self, stage: Stage, method: Method[Response], request: Any) -> bool:
        """Whether the stage can be reached, also while its circuit is open.

        An answer to an empty request says nothing about real work: it changes no circuit, latency, metric or trace.
        """
        try:
            await self._try_twice(self.guards[stage], method, request, self.budget.deadline_s, ())
        except grpc.aio.AioRpcError as error:
            # A stage that works refuses an empty request.
            return error.code() is grpc.StatusCode.INVALID_ARGUMENT
        return True

    def has_room_for(self, stage: Stage, extra: str) -> bool:
        """Whether a stage may be asked for something in addition to its main answer. If not, a degradation names
        `extra`, the fallback: without the extra more calls are answered.
        """
        if self.guards[stage].has_room:
            return True
        self.degrade(stage, common_pb2.DEGRADATION_REASON_OVERLOADED, extra, "the stage is full")
        return False

    def degrade(
        self, stage: Stage, reason: common_pb2.DegradationReason.ValueType, fallback: str, detail: str = ""
    ) -> None:
        self.degradations.append(
            common_pb2.Degradation(stage=STAGE_NUMBERS[stage], reason=reason, fallback=fallback, detail=detail)
        )
        self.metrics.degradations.labels(stage.value, common_pb2.DegradationReason.Name(reason)).inc()

    async def _send(
        self,
        guard: StageGuard,
        kind: CallKind,
        method: Method[Response],
        request: Any,
        began_s: float,
        timeout_s: float,
        is_valid: Callable[[Response], bool] | None,
    ) -> Response:
        """`began_s`: when the flow asked for the call; since then it may have waited for a place."""
        sent_s, was_light, generation = self.clock(), self.limit.is_light, guard.breaker.generation
        kind.sent(sent_s)
        guard.retries.sent()
        try:
            with span_of_stage(guard.stage.value) as trace:
                response = await self._try_twice(guard, method, request, began_s + timeout_s, trace)
            # grpc.aio returns None for bytes that are no message of the contract.
            if response is None or (is_valid is not None and not is_valid(response)):
                raise broken(guard.stage)
        except grpc.aio.AioRpcError as error:
            raise self._failed(guard, kind, error, began_s, sent_s, timeout_s, was_light, generation) from None
        except StageFailed:
            guard.breaker.ended(True, generation, self.clock())
            self.record(guard, "broken", began_s, timeout_s)
            raise
        now_s = self.clock()
        guard.breaker.ended(False, generation, now_s)
        self.info.work.parts.append(kind.answered(now_s - sent_s, was_light and self.limit.is_light, now_s))
        self.record(guard, "ok", began_s, timeout_s)
        return response

    async def _try_twice(
        self,
        guard: StageGuard,
        method: Method[Response],
        request: Any,
        deadline_s: float,
        trace: tuple[tuple[str, str], ...],
    ) -> Response:
        """A second try only if the stage could not be reached: all stage calls are idempotent."""
        metadata = (("application", guard.stage.value), *trace)
        for is_last in (False, True):
            remaining_s = deadline_s - self.clock()
            # A price is the same for everybody: pricing gets neither market nor audience.
            viewing = GENERAL if guard.stage is Stage.PRICING else self.viewing
            context = self.info.context(deadline_s, self.locale, self.assignment.arms, viewing)
            request.context.CopyFrom(context_to_proto(context))
            if self.is_list_price_only and "offer_context" in request.DESCRIPTOR.fields_by_name:
                request.offer_context.list_price_only = True
            try:
                return await method(request, timeout=remaining_s, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                if is_last or error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                if self.clock() >= deadline_s or not guard.retries.take():
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _failed(
        self,
        guard: StageGuard,
        kind: CallKind,
        error: grpc.aio.AioRpcError,
        began_s: float,
        sent_s: float,
        timeout_s: float,
        was_light: bool,
        generation: int,
    ) -> Exception:
        self.record(guard, error.code().name.lower(), began_s, timeout_s)
        now_s = self.clock()
        if refusal := refusal_of(error):
            # The stage works: the request itself is wrong.
            guard.breaker.ended(False, generation, now_s)
            return refusal
        failure = failure_of(guard.stage, error)
        if isinstance(failure, StageOverloaded):
            kind.refused(now_s)
        elif error.code() in _LATE:
            part = kind.late(now_s - sent_s, was_light and self.limit.is_light, now_s)
            if part is not None:
                self.info.work.parts.append(part)
        else:
            guard.breaker.ended(True, generation, now_s)
        return failure

    def skip(self, stage: Stage, reason: common_pb2.DegradationReason.ValueType, detail: str) -> StageFailed:
        """Counts a call that is not made; returns the error to raise."""
        self.guards[stage].count("skipped")
        self._timings.append((stage, self.clock(), 0.0, 0.0))
        return skipped(stage, reason, detail)

    def record(self, guard: StageGuard, outcome: str, began_s: float, timeout_s: float) -> None:
        """Counts a call that has ended."""
        latency_s = self.clock() - began_s
        guard.count(outcome)
        guard.seconds.observe(latency_s)
        self._timings.append((guard.stage, began_s, latency_s, timeout_s))
