"""Calls to a stage that answers with a stream of messages: inside the budget, with breaker, metrics and trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import grpc

from kairos.common.v1 import common_pb2
from services.common.convert import context_to_proto
from services.common.telemetry import span_of_stage
from services.gateway.domain.budget import Stage
from services.gateway.stage_calls import StageCalls
from services.gateway.stage_errors import StageFailed, failure_of, refusal_of, skipped

# For the first message: a part of the budget, and at least so many seconds. A stage that is silent for longer hangs,
# and the caller gets the fallback early.
_FIRST, _FIRST_S = 0.25, 1.0
_LATE = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED, grpc.StatusCode.RESOURCE_EXHAUSTED)

# As the routes of stages make it: it returns an asynchronous generator. For mypy it returns a call of grpc.aio.
Streaming = Callable[..., Any]


async def stream(calls: StageCalls, stage: Stage, method: Streaming, request: Any) -> AsyncGenerator[Any]:
    """The messages of the stage's answer. To be closed; the call is then cancelled.

    It is never sent twice: what the stage did with the first try is not known. Raises StageFailed, or what the stage
    refuses the request with.
    """
    guard, began_s = calls.guards[stage], calls.clock()
    timeout_s = calls.budget.timeout_s(stage, {}, began_s)
    if timeout_s <= 0:
        raise calls.skip(stage, common_pb2.DEGRADATION_REASON_SKIPPED_NO_BUDGET, "no time is left")
    if not guard.breaker.allows(began_s):
        reason = common_pb2.DEGRADATION_REASON_CIRCUIT_OPEN
        raise calls.skip(stage, reason, "the last calls failed; the gateway pauses calls to the stage")
    generation = guard.breaker.generation
    context = calls.info.context(began_s + timeout_s, calls.locale, calls.assignment.arms, calls.viewing)
    request.context.CopyFrom(context_to_proto(context))
    metadata = [("application", stage.value)]
    if calls.info.authorization:
        metadata.append(("authorization", calls.info.authorization))
    try:
        with span_of_stage(stage.value) as trace:
            answer = method(request, timeout=timeout_s, metadata=(*metadata, *trace))
        async with aclosing(answer) as messages:
            try:
                async with asyncio.timeout(max(_FIRST * calls.budget.total_s, _FIRST_S)):
                    message = await anext(messages, None)
            except TimeoutError:
                raise skipped(stage, common_pb2.DEGRADATION_REASON_LATE, "no first message came in time") from None
            while message is not None:
                yield message
                message = await anext(messages, None)
    except grpc.aio.AioRpcError as error:
        calls.record(guard, error.code().name.lower(), began_s, timeout_s)
        if refusal := refusal_of(error):
            guard.breaker.ended(False, generation, calls.clock())
            raise refusal from None
        if error.code() not in _LATE:
            guard.breaker.ended(True, generation, calls.clock())
        raise failure_of(stage, error) from None
    except StageFailed:
        # Silence counts as a failure: of a stage that hangs, every caller would wait for this long.
        guard.breaker.ended(True, generation, calls.clock())
        calls.record(guard, "silent", began_s, timeout_s)
        raise
    guard.breaker.ended(False, generation, calls.clock())
    calls.record(guard, "ok", began_s, timeout_s)


def first_message(method: Streaming) -> Callable[..., Awaitable[Any]]:
    """A method that streams, as one that returns the first message of its answer; None if there is none."""

    async def call(request: Any, **given: Any) -> Any:
        async with aclosing(method(request, **given)) as messages:
            return await anext(messages, None)

    return call
