"""Clients and servers that are one version apart, as in a rolling upgrade and a rollback."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.message import Message

from kairos.gateway.v1 import gateway_pb2
from services.gateway.server import SERVICE, start_gateway
from services.gateway.settings import GatewaySettings, MetricsSettings, ServerSettings, StagesSettings
from tests.fakes.stages import FakeStages

BASELINE = Path(__file__).parents[2] / "protos" / "baseline.binpb"
GATEWAY = "kairos/gateway/v1/gateway.proto"
BUDGET_S = 2.0
# What differs between two answers to the same request.
PASSING = {"requestId", "attributionToken", "timings", "nextPageToken"}
REQUESTS: dict[str, dict[str, Any]] = {
    "Search": {"query": "shoes", "pageSize": 3, "explain": True, "facets": ["brand"], "locale": "en"},
    "Suggest": {"prefix": "sho", "limit": 3},
    "Recommend": {"userId": "u1", "pageSize": 3, "explain": True},
    "QuotePrices": {"productIds": ["p1", "p2", "unknown"]},
    "RecordEvents": {
        "events": [{"eventId": "e1", "userId": "u1", "itemId": "p1", "type": "EVENT_TYPE_CLICK"}],
    },
    "GetProduct": {"id": "p1"},
    "GetProfile": {"userId": "u1"},
}


class Contract:
    """The gateway's messages as a descriptor set defines them, not as the generated classes do."""

    def __init__(self, files: descriptor_pb2.FileDescriptorSet) -> None:
        self.pool = descriptor_pool.DescriptorPool()
        for file in files.file:
            self.pool.Add(file)
        self.methods = {
            method.name: (
                message_factory.GetMessageClass(method.input_type),
                message_factory.GetMessageClass(method.output_type),
            )
            for method in self.pool.FindServiceByName(SERVICE).methods
        }

    async def call(self, channel: grpc.aio.Channel, method: str, fields: dict[str, Any]) -> dict[str, Any]:
        """The answer, without the fields that differ between two calls."""
        request_type, response_type = self.methods[method]
        request = json_format.ParseDict(fields, request_type(), descriptor_pool=self.pool)
        answer = await send(channel, method, request, response_type)
        kept = json_format.MessageToDict(answer, descriptor_pool=self.pool)
        return {name: value for name, value in kept.items() if name not in PASSING}


async def send(channel: grpc.aio.Channel, method: str, request: Message, answer: type[Message]) -> Message:
    call = channel.unary_unary(
        f"/{SERVICE}/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=answer.FromString,
    )
    response: Message = await call(request, timeout=BUDGET_S)
    return response


def baseline(change: Callable[[descriptor_pb2.FileDescriptorProto], None] | None = None) -> Contract:
    """The last release's contract; `change` is given the gateway's file."""
    files = descriptor_pb2.FileDescriptorSet.FromString(BASELINE.read_bytes())
    if change is not None:
        change(next(file for file in files.file if file.name == GATEWAY))
    return Contract(files)


def present() -> Contract:
    files, seen = descriptor_pb2.FileDescriptorSet(), set[str]()

    def add(descriptor: Any) -> None:
        for dependency in descriptor.dependencies:
            add(dependency)
        if descriptor.name not in seen:
            seen.add(descriptor.name)
            descriptor.CopyToProto(files.file.add())

    add(gateway_pb2.DESCRIPTOR)
    return Contract(files)


def message_of(file: descriptor_pb2.FileDescriptorProto, name: str) -> descriptor_pb2.DescriptorProto:
    return next(message for message in file.message_type if message.name == name)


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    stages = FakeStages()
    await stages.start()
    defaults = StagesSettings()
    settings = GatewaySettings(
        stages=StagesSettings(
            **{n: getattr(defaults, n).model_copy(update={"target": t}) for n, t in stages.targets.items()}
        ),
        server=ServerSettings(port=0, drain_s=0.5),
        metrics=MetricsSettings(port=0),
    )
    gateway = await start_gateway(settings)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{gateway.port}") as opened:
        yield opened
    await gateway.stop()
    await stages.stop()


def is_part(known: object, whole: object) -> bool:
    """Whether `whole` has all of `known`, at every depth; a later release may add fields."""
    if isinstance(known, dict) and isinstance(whole, dict):
        return all(name in whole and is_part(value, whole[name]) for name, value in known.items())
    if isinstance(known, list) and isinstance(whole, list):
        return len(known) == len(whole) and all(map(is_part, known, whole))
    return known == whole


async def test_a_client_of_the_last_release_is_answered(channel: grpc.aio.Channel) -> None:
    """Its requests, made of its own descriptors, get the same answers as those of a present client."""
    old, new = baseline(), present()
    for method, fields in REQUESTS.items():
        first = await new.call(channel, method, fields)
        if method == "RecordEvents":  # the second one is a repetition, and counted so
            fields = {"events": [fields["events"][0] | {"eventId": "e2"}]}
        answer = await old.call(channel, method, fields)
        assert answer
        assert is_part(answer, first), (method, answer, first)


async def test_a_client_that_knows_less_is_answered(channel: grpc.aio.Channel) -> None:
    """Fields of the answer that the client does not know change nothing about those that it knows."""

    def forget(file: descriptor_pb2.FileDescriptorProto) -> None:
        for name, field in (("Result", "price"), ("Result", "reasons"), ("SearchResponse", "facets")):
            message = message_of(file, name)
            message.field.remove(next(known for known in message.field if known.name == field))
        result = message_of(file, "Result")
        # `optional` is a oneof of its own in a descriptor.
        del result.oneof_decl[:]
        for known in result.field:
            known.ClearField("proto3_optional")
            known.ClearField("oneof_index")

    old, new = baseline(forget), present()
    answer, whole = [await client.call(channel, "Search", REQUESTS["Search"]) for client in (old, new)]
    assert "price" in whole["results"][0]
    assert "price" not in answer["results"][0]
    assert [one["product"] for one in answer["results"]] == [one["product"] for one in whole["results"]]


async def test_a_client_that_knows_more_is_answered(channel: grpc.aio.Channel) -> None:
    """A rolled-back gateway ignores the fields that only a newer client knows."""

    def learn(file: descriptor_pb2.FileDescriptorProto) -> None:
        field = message_of(file, "SearchRequest").field.add(name="from_later", number=900)
        field.type, field.label = field.TYPE_STRING, field.LABEL_OPTIONAL
        field.json_name = "fromLater"

    newer = baseline(learn)
    plain = await newer.call(channel, "Search", REQUESTS["Search"])
    answer = await newer.call(channel, "Search", REQUESTS["Search"] | {"fromLater": "never heard of"})
    assert answer == plain


async def test_a_method_from_later_is_unimplemented(channel: grpc.aio.Channel) -> None:
    """A newer client recognises an older gateway by the canonical code, and can fall back."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(channel, "FromLater", gateway_pb2.SearchRequest(), gateway_pb2.SearchResponse)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
