"""How the gateway receives messages: the key first, then the size, then the fields; nothing else is parsed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from services.gateway.message_limits import GATEWAY_SERVICE, GRPC_MESSAGE_BYTES, MESSAGE_LIMITS
from services.gateway.settings import LimitSettings, SecuritySettings
from tests.contract.gateways import hashed_key
from tests.contract.refusals import refusal
from tests.contract.test_gateway_server import calling, gateway, refused
from tests.fakes.stages import FakeStages
from tests.fakes.waiting import until

KEYS = SecuritySettings(api_keys=(hashed_key("writer", "shop", "write"),))
METADATA = (("authorization", "Bearer writer"),)


def path(method: str) -> str:
    return f"/{GATEWAY_SERVICE.full_name}/{method}"


def unknown_field(size: int) -> bytes:
    """A field of `size` bytes that no contract has."""
    return (
        b"\xfa\x07" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21]) + bytes(size)
    )


async def test_without_a_key_no_message_is_received() -> None:
    """A caller without a key is refused although its message never comes: every method, streams too."""
    async with gateway(KEYS) as started, calling(started) as channel:

        async def never() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        for method in MESSAGE_LIMITS:
            raw: Any = channel.stream_unary(path(method))
            error = await refused(raw(never(), timeout=10))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("unit", ["0a00", "3a00", "0a024200"])
async def test_hostile_messages(unit: str) -> None:
    """Millions of empty entries: UNAUTHENTICATED without a key, otherwise INVALID_ARGUMENT that names the remedy."""
    data = bytes.fromhex(unit) * ((15 << 20) // (len(unit) // 2))
    async with gateway(KEYS) as started, calling(started) as channel:
        for method in ("Search", "RecordEvents", "ImportProducts", "GetProduct"):
            raw: Any = channel.unary_unary(path(method))
            error = await refused(raw(data, timeout=10))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED
            error = await refused(raw(data, timeout=10, metadata=METADATA))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "send" in (error.details() or "")


@pytest.mark.parametrize("method", sorted(MESSAGE_LIMITS))
async def test_one_byte_too_many(method: str) -> None:
    """Above the limit of its method a message is INVALID_ARGUMENT of `request`, and the limit is named."""
    size = MESSAGE_LIMITS[method].size
    # One unknown text field.
    data = (
        b"\xfa\x07" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21]) + bytes(size)
    )
    async with gateway(KEYS) as started, calling(started) as channel:
        raw: Any = channel.unary_unary(path(method))
        code, fields = await refusal(raw(data, timeout=10, metadata=METADATA))
        assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["request"])
        error = await refused(raw(data, timeout=10, metadata=METADATA))
        assert str(size) in (error.details() or "")


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_what_grpc_itself_refuses(compression: grpc.Compression) -> None:
    """A message that is larger than gRPC accepts, also after decompression, is RESOURCE_EXHAUSTED."""
    options = [("grpc.max_send_message_length", -1)]
    async with gateway(KEYS) as started:
        address = f"127.0.0.1:{started.port}"
        async with grpc.aio.insecure_channel(address, options, compression) as channel:
            raw: Any = channel.unary_unary(path("ImportProducts"))
            error = await refused(raw(bytes(GRPC_MESSAGE_BYTES + 1), timeout=10, metadata=METADATA))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "larger than max" in (error.details() or "")


async def test_messages_in_progress_are_bounded_by_bytes() -> None:
    """Beyond `limits.in_flight_mb` a large message is refused with RESOURCE_EXHAUSTED, and a small one is served."""
    stages = FakeStages()
    await stages.start()
    try:
        await stages.worsen("ranker", "slow")
        click = event_pb2.Event(event_id="e", user_id="u", item_id="p1", type=event_pb2.EVENT_TYPE_CLICK)
        small = gateway_pb2.RecordEventsRequest(events=[click]).SerializeToString()
        large = small + unknown_field(MESSAGE_LIMITS["RecordEvents"].size - 1_000)
        async with (
            gateway(KEYS, stages.targets, LimitSettings(in_flight_mb=24)) as started,
            calling(started) as channel,
        ):
            raw: Any = channel.unary_unary(path("RecordEvents"))
            held = [raw(large, timeout=60, metadata=METADATA) for _ in range(3)]
            await until(lambda: started.gateway.handler.reception.event_calls.in_use == 3)
            error = await refused(raw(large, timeout=60, metadata=METADATA))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            held.append(raw(small, timeout=60, metadata=METADATA))
            await until(lambda: started.gateway.handler.reception.event_calls.in_use == 4)
            for call in held:
                call.cancel()
            await until(lambda: started.gateway.handler.reception.event_calls.in_use == 0)
            again = raw(large, timeout=60, metadata=METADATA)
            await until(lambda: started.gateway.handler.reception.event_calls.in_use == 1)
            again.cancel()
    finally:
        await stages.stop()


async def test_calls_without_a_message_delay_no_other_connection() -> None:
    """Calls whose message does not come delay further ones of their connection only."""

    async def never() -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    async with gateway(KEYS, limits=LimitSettings(idle_s=0.3)) as started, calling(started) as idle:
        paused: Any = idle.stream_unary(path("Search"))
        held = [paused(never(), timeout=10, metadata=METADATA) for _ in range(8)]
        alone = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{started.port}", alone) as other:
            raw: Any = other.unary_unary(path("Search"))
            await raw(b"", timeout=0.2, metadata=METADATA)
        for call in held:
            assert (await refused(call)).code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_call_without_a_message() -> None:
    """A call of a unary method that ends without a message is INVALID_ARGUMENT."""
    async with gateway(KEYS) as started, calling(started) as channel:
        raw: Any = channel.stream_unary(path("Search"))
        assert await refusal(raw(iter([]), timeout=10, metadata=METADATA)) == (
            grpc.StatusCode.INVALID_ARGUMENT, ["request"],
        )  # fmt: skip


@pytest.mark.parametrize("method", ["Search", "ImportProducts"])
async def test_a_caller_that_pauses(method: str) -> None:
    """A call whose next message does not come within `limits.idle_s` ends with DEADLINE_EXCEEDED and the remedy."""
    first = gateway_pb2.ImportProductsRequest(products=[product_pb2.Product(id="a", title="A")]).SerializeToString()

    async def pausing() -> AsyncIterator[bytes]:
        if method == "ImportProducts":
            yield first
        await asyncio.Event().wait()

    async with gateway(KEYS, limits=LimitSettings(idle_s=0.05)) as started, calling(started) as channel:
        raw: Any = channel.stream_unary(path(method))
        error = await refused(raw(pausing(), timeout=10, metadata=METADATA))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "0.05 s" in (error.details() or "")
        assert started.gateway.handler.reception.access.limit.places.in_flight == 0
