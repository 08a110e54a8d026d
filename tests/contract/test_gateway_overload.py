"""A gateway that is full refuses before it receives a message; what stages answer in error is named."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from kairos.common.v1 import common_pb2, event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.gateway.settings import LimitSettings
from tests.contract.gateways import BUDGET_S, Running, running, search, stages
from tests.contract.test_gateway_quotas import SEARCH, Endless, retry_s
from tests.contract.test_gateway_server import calling, gateway, refused
from tests.fakes.stages import FakeStages
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures

CLICK = event_pb2.Event(event_id="e", user_id="u", item_id="p1", type=event_pb2.EVENT_TYPE_CLICK)


async def test_refused_before_the_message(stages: FakeStages) -> None:
    """While all places are taken, a search without time to wait is refused before it has sent its message; it is
    counted, and events are recorded meanwhile."""
    limits = LimitSettings(minimum_in_flight=1, maximum_in_flight=1)
    async with gateway(targets=stages.targets, limits=limits) as started, calling(started) as channel:
        stub: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(channel)
        places = started.gateway.parts.access.limit.places
        await stub.Search(search(), timeout=2)
        await stages.worsen("pricing", "slow")
        held = asyncio.ensure_future(stub.Search(search(), timeout=2))
        await until(lambda: places.in_flight == 1)
        raw: Any = channel.stream_unary(SEARCH)
        silent = Endless()
        assert retry_s(await refused(raw(silent.messages(), timeout=0.005))) > 0
        silent.close()
        events = gateway_pb2.RecordEventsRequest(events=[CLICK])
        assert (await stub.RecordEvents(events, timeout=2)).recorded_count == 1
        assert places.in_flight == 1
        await held
        read = started.gateway.parts.metrics.registry.get_sample_value
        assert read("kairos_gateway_overload_refusals_total", {"method": "Search"}) == 1
        assert read("kairos_gateway_concurrency_limit", {"limiter": "gateway"}) == 1


@pytest.mark.parametrize("stage", ["query_encoder", "retrieval", "ranker", "pricing"])
async def test_garbage(running: Running, stage: str) -> None:
    """A stage whose answers are no messages is named with its fallback, inside the budget."""
    await running.stages.worsen(stage, "garbage")
    reason = common_pb2.DEGRADATION_REASON_UNSPECIFIED
    # The gateway has to connect to the changed stage.
    async with asyncio.timeout(10):
        while reason != common_pb2.DEGRADATION_REASON_ERROR:
            (degradation,) = (await running.within_budget(search())).degradations
            assert common_pb2.Stage.Name(degradation.stage) == f"STAGE_{stage.upper()}"
            reason = degradation.reason


@pytest.mark.parametrize(("stage", "fallback"), [("ranker", "retrieval order"), ("pricing", "published offer")])
async def test_an_answer_that_breaks_the_contract(running: Running, stage: str, fallback: str) -> None:
    """An order without the candidates, or an answer without quotes, is not shown: the fallback is."""
    await running.stages.worsen(stage, "empty")
    answer = await running.stub.Search(search(), timeout=BUDGET_S)
    assert [degradation.fallback for degradation in answer.degradations] == [fallback]
    assert len(answer.results) == 5
    assert all(result.price.HasField("offer") for result in answer.results)


async def test_without_a_deadline_nothing_is_late(running: Running) -> None:
    """A caller without a deadline has the default budget: a slow stage is given up in time."""
    await running.stages.worsen("ranker", "slow")
    answer = await running.stub.Search(search())
    assert [degradation.reason for degradation in answer.degradations] == [common_pb2.DEGRADATION_REASON_LATE]
    assert answer.results
    assert await running.stub.Search(search()).code() is grpc.StatusCode.OK


async def test_events_that_nobody_recorded(running: Running) -> None:
    """An empty answer of the ranker acknowledges no event: the caller is told to send it again."""
    await running.stages.worsen("ranker", "empty")
    request = gateway_pb2.RecordEventsRequest(events=[CLICK])
    details = ""
    # The gateway has to connect to the changed stage.
    async with asyncio.timeout(10):
        while "does not keep the contract" not in details:
            call = running.stub.RecordEvents(request, timeout=2)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            details = await call.details() or ""
