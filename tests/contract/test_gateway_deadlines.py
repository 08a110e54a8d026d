"""What a call without a fallback answers: too little time is DEADLINE_EXCEEDED, a stage that is down UNAVAILABLE."""

from __future__ import annotations

import time

import grpc
import pytest

from kairos.common.v1 import common_pb2, event_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import Overloaded
from services.common.rpc import describe
from services.gateway.domain.budget import Stage
from services.gateway.request_info import RequestInfo
from services.gateway.stage_errors import StageLate
from services.gateway.stage_guard import Origin
from tests.contract.gateways import Running, degradations, running, search, stages
from tests.contract.refusals import refusal

__all__ = ["running", "stages"]  # fixtures

CLICK = event_pb2.Event(event_id="e", user_id="u", item_id="p1", type=event_pb2.EVENT_TYPE_CLICK)
# Each method with the stage without which it has no answer.
CALLS = [
    ("GetProduct", {"id": "p1"}, "retrieval"),
    ("QuotePrices", {"product_ids": ["p1"]}, "retrieval"),
    ("DeleteProducts", {"ids": ["p1"]}, "retrieval"),
    ("RecordEvents", {"events": [CLICK]}, "ranker"),
    ("GetProfile", {"user_id": "u"}, "ranker"),
    ("ExportUser", {"user_id": "u"}, "ranker"),
    ("ReadLog", {"log": ranker_pb2.LOG_KIND_EVENTS}, "ranker"),
]


@pytest.mark.parametrize(("method", "fields", "stage"), CALLS)
@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("slow", grpc.StatusCode.DEADLINE_EXCEEDED),
        ("down", grpc.StatusCode.UNAVAILABLE),
        ("gone", grpc.StatusCode.UNAVAILABLE),
        ("error", grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_late_or_down(
    running: Running, method: str, fields: dict[str, object], stage: str, how: str, code: grpc.StatusCode
) -> None:
    """A stage that is late for the caller's deadline is DEADLINE_EXCEEDED; one that is down or fails, UNAVAILABLE."""
    await running.stages.worsen(stage, how)
    call = getattr(running.stub, method)(getattr(gateway_pb2, f"{method}Request")(**fields), timeout=0.5)
    assert await call.code() is code


async def test_too_little_is_left(running: Running) -> None:
    """A stage that usually takes longer than what is left is not called, and the error says what to change."""
    access, lookup = running.parts.access, running.parts.stubs.retrieval.LookupProducts
    kind = access.guards[Stage.RETRIEVAL].kind("LookupProductsRequest", Origin.WRITE)
    kind.answered(0.1, True, time.monotonic())
    kind.sent(time.monotonic())
    info = RequestInfo()
    calls = access.for_write(RequestInfo(deadline_s=info.received_s + 0.006))
    with pytest.raises(StageLate) as caught:
        await calls.call(Stage.RETRIEVAL, lookup, retrieval_pb2.LookupProductsRequest(ids=["p1"]))
    code, message, _ = describe(caught.value)
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert message.endswith("set a longer deadline")


async def test_a_stage_that_refuses(running: Running) -> None:
    """A stage without room is RESOURCE_EXHAUSTED with the time to wait; it opens no circuit, and reads degrade."""
    running.stages.ranker.refusal = Overloaded("Redis is full", 1.0)
    for _ in range(10):
        code, _ = await refusal(running.stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[CLICK])))
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        (degradation,) = (await running.stub.Search(search())).degradations
        assert (degradation.stage, degradation.fallback) == (3, "retrieval order")
        assert degradation.reason == common_pb2.DEGRADATION_REASON_OVERLOADED
    assert not running.parts.access.guards[Stage.RANKER].breaker.is_open
    running.stages.ranker.refusal = None
    assert degradations(await running.stub.Search(search())) == []
