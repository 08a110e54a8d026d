"""Conversations at the gateway: the stream of a turn, and what comes in its place if the assistant does not answer."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kairos.assistant.v1 import assistant_pb2
from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import conversation_pb2
from services.common.errors import Aborted, NotFound
from services.gateway.settings import BudgetSettings, LimitSettings, SecuritySettings
from tests.contract.gateways import Running, hashed_key, running, running_gateway, search, stages, violated_fields
from tests.contract.refusals import refusal
from tests.fakes.stages import FakeStages
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures


def said(text: str = "shoes", **fields: Any) -> conversation_pb2.ConverseRequest:
    return conversation_pb2.ConverseRequest(utterance=assistant_pb2.Utterance(text=text), **fields)


async def events_of(call: Any) -> list[assistant_pb2.ConverseResponse]:
    return [response.event async for response in call]


def kinds(events: list[assistant_pb2.ConverseResponse]) -> list[str | None]:
    return [event.WhichOneof("event") for event in events]


def apology(events: list[assistant_pb2.ConverseResponse]) -> tuple[common_pb2.Degradation, str]:
    """The degradation and the text of a turn without the assistant; checks that a person takes over."""
    *_, segment, hand_over, ended = events
    assert segment.segment.source == assistant_pb2.ANSWER_SOURCE_FALLBACK
    assert hand_over.hand_over.reason == assistant_pb2.HAND_OVER_REASON_NO_ANSWER
    (degradation,) = ended.ended.degradations
    assert (degradation.stage, degradation.fallback) == (common_pb2.STAGE_ASSISTANT, "hand-over to a person")
    return degradation, segment.segment.text


@pytest.fixture
async def impatient(stages: FakeStages) -> AsyncIterator[Running]:
    """Without a deadline a turn has 1.2 seconds."""
    async with running_gateway(stages, budget=BudgetSettings(converse_ms=1_200)) as one:
        yield one


async def test_a_turn(running: Running) -> None:
    """The assistant's events come through as they are, with the request's id in the initial metadata."""
    call = running.stub.Converse(said(), metadata=(("x-request-id", "r1"),))
    assert await events_of(call) == running.stages.assistant.events
    assert dict(await call.initial_metadata())["x-request-id"] == "r1"
    (asked,) = running.stages.assistant.requests
    assert (asked.utterance.text, asked.context.request_id) == ("shoes", "r1")
    assert running.metric("requests_total", method="Converse", code="OK") == 1
    assert running.metric("first_words_seconds_count") == 1


async def test_events_come_one_by_one(running: Running) -> None:
    """An event is with the caller before the assistant has sent the next one."""
    running.stages.assistant.pause_s = 0.3
    began, at = time.monotonic(), list[float]()
    async for _ in running.stub.Converse(said()):
        at.append(time.monotonic() - began)
    assert min(at[1] - at[0], at[2] - at[1]) > 0.1


async def test_the_key_goes_to_the_assistant(stages: FakeStages) -> None:
    """The assistant calls the gateway with the caller's key; no other stage sees it."""
    async with running_gateway(stages, SecuritySettings(api_keys=(hashed_key("k", "shop", "read"),))) as keyed:
        await events_of(keyed.stub.Converse(said(), metadata=(("authorization", "Bearer k"),)))
        assert stages.assistant.metadata["authorization"] == "Bearer k"
        assert stages.assistant.requests[0].context.tenant == "shop"
        assert await refusal(keyed.stub.Converse(said()).read()) == (grpc.StatusCode.UNAUTHENTICATED, [])


@pytest.mark.parametrize("how", ["down", "error", "gone", "empty", "garbage"])
async def test_without_the_assistant(running: Running, how: str) -> None:
    """A stage that is down or broken: an OK stream with a fixed text, a hand-over and the degradation."""
    await running.stages.worsen("assistant", how)
    events = await events_of(running.stub.Converse(said("我想买一双鞋")))
    assert kinds(events) == ["begun", "segment", "hand_over", "ended"]
    _, text = apology(events)
    assert text.startswith("我暂时无法回答")
    assert events[0].begun.conversation_id == ""
    assert not events[3].ended.is_stored
    assert running.metric("degraded_answers_total", method="Converse") == 1


async def test_a_silent_assistant(impatient: Running) -> None:
    """An assistant that hangs costs the caller a second, not the whole budget and no more than it."""
    await impatient.stages.worsen("assistant", "slow")
    began = time.monotonic()
    degradation, text = apology(await events_of(impatient.stub.Converse(said(), timeout=30)))
    assert 0.9 < time.monotonic() - began < 1.2
    assert degradation.reason == common_pb2.DEGRADATION_REASON_LATE
    assert text.startswith("I cannot answer")


async def test_an_assistant_that_is_late(impatient: Running) -> None:
    """One that begins and does not end in time: what was said stays, and the end comes within the budget."""
    impatient.stages.assistant.pause_s = 0.8
    events = await events_of(impatient.stub.Converse(said()))
    assert kinds(events) == ["begun", "segment", "segment", "hand_over", "ended"]
    assert events[1].segment.text == "Here are shoes."
    assert apology(events)[0].reason == common_pb2.DEGRADATION_REASON_LATE


async def test_a_broken_stream(running: Running) -> None:
    """A stream without `ended` was broken off: the gateway ends it."""
    running.stages.assistant.events.pop()
    events = await events_of(running.stub.Converse(said()))
    assert apology(events)[0].reason == common_pb2.DEGRADATION_REASON_ERROR


async def test_a_refusal_passes(running: Running) -> None:
    """What the assistant refuses reaches the caller as it is, with the facts for programs."""
    running.stages.assistant.refusal = NotFound("there is no conversation 'c'")
    code, _ = await refusal(running.stub.Converse(said(conversation_id="c")).read())
    assert code is grpc.StatusCode.NOT_FOUND
    running.stages.assistant.refusal = Aborted("two turns at the same time", {"current_turn_count": "2"})
    code, _ = await refusal(running.stub.Converse(said(conversation_id="c")).read())
    assert code is grpc.StatusCode.ABORTED


async def test_a_caller_who_leaves(running: Running) -> None:
    """A cancelled call ends the work of the assistant, and frees its place."""
    running.stages.assistant.pause_s = 30.0
    call = running.stub.Converse(said())
    await call.read()
    assert running.metric("conversations") == 1
    call.cancel()
    await until(lambda: running.stages.assistant.open == 0 and running.metric("conversations") == 0)


async def test_places_of_their_own(stages: FakeStages) -> None:
    """A tenant's conversations take no place of its other calls; beyond their own places they are refused."""
    keys = SecuritySettings(api_keys=(hashed_key("k", "shop", "read", calls_in_flight=1),))
    limits = LimitSettings(conversations=3, conversations_of_a_tenant=2)
    stages.assistant.pause_s = 30.0
    metadata = (("authorization", "Bearer k"),)
    async with running_gateway(stages, keys, limits=limits) as keyed:
        open_calls = [keyed.stub.Converse(said(), metadata=metadata) for _ in range(2)]
        for call in open_calls:
            await call.read()
        assert (await keyed.stub.Search(search(), metadata=metadata)).results
        code, _ = await refusal(keyed.stub.Converse(said(), metadata=metadata).read())
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        for call in open_calls:
            call.cancel()


async def test_without_an_assistant(stages: FakeStages) -> None:
    """A suite without an assistant names the setting."""
    del stages.targets["assistant"]
    async with running_gateway(stages) as bare:
        call = bare.stub.Converse(said())
        code, _ = await refusal(call.read())
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "KAIROS_GATEWAY_STAGES__ASSISTANT__TARGET" in await call.details()


@pytest.mark.parametrize(
    ("utterance", "field"),
    [
        ({}, "utterance"),
        ({"text": "a", "chip_id": "b"}, "utterance"),
        ({"text": "a" * 1_001}, "utterance.text"),
        ({"text": "a" * 10_000}, "utterance.text"),
        ({"text": " \n"}, "utterance.text"),
        ({"transcripts": [{"text": "a", "confidence": 2.0}]}, "utterance.transcripts[0].confidence"),
        ({"transcripts": [{"text": "a"}] * 9}, "utterance.transcripts"),
        ({"transcripts": [{"confidence": 1.0}]}, "utterance.transcripts[0].text"),
        ({"text": "a", "item_ids": ["p"] * 21}, "utterance.item_ids"),
    ],
)
async def test_a_wrong_utterance(running: Running, utterance: dict[str, Any], field: str) -> None:
    """It is refused by its field before the assistant is called."""
    message = conversation_pb2.ConverseRequest(utterance=assistant_pb2.Utterance(**utterance))
    assert await violated_fields(running.stub.Converse(message).read()) == [field]
    assert not running.stages.assistant.requests


async def test_a_search_by_transcripts(running: Running) -> None:
    """The alternative that the shop knows is answered; the later page of the same request is of the same query."""
    running.stages.encoder.subjects = ["shoes"]
    heard = [("running choose", 0.52), ("running shoes", 0.48), ("ran in shows", 0.1)]
    message = search("", transcripts=[{"text": text, "confidence": confidence} for text, confidence in heard])
    first = await running.stub.Search(message, timeout=5)
    assert first.transcript == "running shoes"
    message.page_token = first.next_page_token
    assert (await running.stub.Search(message, timeout=5)).results
    await running.stages.worsen("query_encoder", "error")
    message.page_token = ""
    assert (await running.stub.Search(message, timeout=5)).transcript == "running choose"
    message.query = "shoes"
    assert await violated_fields(running.stub.Search(message, timeout=5)) == ["query"]


async def test_health_names_the_assistant(running: Running) -> None:
    """The gateway reports the assistant by the name of its service."""
    stub: Any = health_pb2_grpc.HealthStub(running.channel)
    ask = health_pb2.HealthCheckRequest(service="kairos.assistant.v1.AssistantService")
    async for answer in stub.Watch(ask, timeout=5):
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return
    raise AssertionError("the assistant was never SERVING")
