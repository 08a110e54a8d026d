"""Quotas of API keys and of tenants: refused before any work, with RetryInfo; nobody else notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kairos.gateway.v1 import gateway_pb2
from services.common.errors import InvalidArgument
from services.common.rpc import DETAILS_KEY
from services.common.settings import load_settings
from services.gateway.message_limits import GATEWAY_SERVICE
from services.gateway.settings import GatewaySettings, LimitSettings, SecuritySettings
from tests.contract.gateways import hashed_key
from tests.contract.test_gateway_server import calling, gateway, refused
from tests.fakes.stages import FakeStages
from tests.fakes.waiting import until

IMPORT, SEARCH = (f"/{GATEWAY_SERVICE.full_name}/{name}" for name in ("ImportProducts", "Search"))


def metadata(key: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {key}"),)


def retry_s(error: grpc.aio.AioRpcError) -> float:
    """Seconds to wait, of a RESOURCE_EXHAUSTED answer."""
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    raw, retry = dict(error.trailing_metadata() or ())[DETAILS_KEY], error_details_pb2.RetryInfo()
    assert isinstance(raw, bytes)
    assert any(detail.Unpack(retry) for detail in status_pb2.Status.FromString(raw).details)
    return float(retry.retry_delay.ToNanoseconds() / 1e9)


async def first_refusal(call: Any, key: str) -> grpc.aio.AioRpcError:
    """Calls without a pause until a call fails."""
    for _ in range(1_000):
        try:
            await call(b"", metadata=metadata(key), timeout=10)
        except grpc.aio.AioRpcError as error:
            return error
    pytest.fail("no call was refused")


class Endless:
    """A request stream that sends nothing until it is closed, and then these messages."""

    def __init__(self, *last: bytes) -> None:
        self._closed, self._last = asyncio.Event(), last

    def close(self) -> None:
        self._closed.set()

    async def messages(self) -> AsyncIterator[bytes]:
        await self._closed.wait()
        for message in self._last:
            yield message


async def test_calls_a_second() -> None:
    """Beyond `calls_per_s` a key is refused, with the time to wait; another key of the same tenant is not."""
    keys = (hashed_key("busy", "shop", "read", calls_per_s=4), hashed_key("quiet", "shop", "read"))
    async with gateway(SecuritySettings(api_keys=keys)) as started, calling(started) as channel:
        raw: Any = channel.unary_unary(SEARCH)
        # The burst of half a second, and as many as fit into the time of these calls.
        error = await first_refusal(raw, "busy")
        assert 0 < retry_s(error) <= 0.25
        assert "4 calls a second" in (error.details() or "")
        await raw(b"", metadata=metadata("quiet"), timeout=10)
        read = started.gateway.parts.metrics.registry.get_sample_value
        labels = {"tenant": "shop", "quota": "calls_per_s"}
        assert read("kairos_gateway_quota_refusals_total", labels) == 1
        # A refusal is no failed call of the suite.
        labels = {"method": "Search", "code": "RESOURCE_EXHAUSTED"}
        assert read("kairos_gateway_requests_total", labels) is None


async def test_calls_in_flight() -> None:
    """Beyond `calls_in_flight` a key is refused; when a call has ended it is served again."""
    keys = (hashed_key("busy", "shop", "read", calls_in_flight=2), hashed_key("quiet", "other", "read"))
    async with gateway(SecuritySettings(api_keys=keys)) as started, calling(started) as channel:
        raw: Any = channel.stream_unary(SEARCH)
        requests = [Endless(), Endless()]
        held = [raw(request.messages(), metadata=metadata("busy"), timeout=10) for request in requests]
        in_flight = started.gateway.parts.metrics.in_flight
        await until(lambda: next(iter(in_flight.collect())).samples[0].value == 2)
        assert retry_s(await refused(raw(iter([b""]), metadata=metadata("busy"), timeout=10))) > 0
        await raw(iter([b""]), metadata=metadata("quiet"), timeout=10)
        for request, call in zip(requests, held, strict=True):
            request.close()
            await refused(call)
        await raw(iter([b""]), metadata=metadata("busy"), timeout=10)


async def test_idle_imports_hold_no_search() -> None:
    """Import streams have places of their own: with all of a tenant's taken, searches and other tenants are served."""
    keys = (
        hashed_key("importer", "shop", "write", import_streams=100),
        hashed_key("second", "shop", "write"),
        hashed_key("other", "other", "write", import_streams=1),
    )
    limits = LimitSettings(minimum_in_flight=1, maximum_in_flight=1, import_streams=4, import_streams_of_a_tenant=3)
    async with gateway(SecuritySettings(api_keys=keys), limits=limits) as started, calling(started) as channel:
        imports: Any = channel.stream_unary(IMPORT)
        requests = [Endless() for _ in range(4)]
        held = [imports(request.messages(), metadata=metadata("importer"), timeout=10) for request in requests[:3]]
        streams = started.gateway.handler.reception.import_streams
        await until(lambda: streams.in_use == 3)
        for key in ("importer", "second"):
            assert retry_s(await refused(imports(iter([]), metadata=metadata(key), timeout=10))) > 0
        held.append(imports(requests[3].messages(), metadata=metadata("other"), timeout=10))
        await until(lambda: streams.in_use == 4)
        assert retry_s(await refused(imports(iter([]), metadata=metadata("other"), timeout=10))) > 0
        searches: Any = channel.unary_unary(SEARCH)
        await searches(b"", metadata=metadata("importer"), timeout=10)
        for request, call in zip(requests, held, strict=True):
            request.close()
            assert gateway_pb2.ImportProductsResponse.FromString(await call).received_count == 0
        await until(lambda: streams.in_use == 0)


async def test_without_keys_there_are_no_quotas() -> None:
    """A gateway without API keys refuses no caller for its rate."""
    stages = FakeStages()
    await stages.start()
    try:
        settings = GatewaySettings()
        async with gateway(targets=stages.targets) as started, calling(started) as channel:
            raw: Any = channel.unary_unary(f"/{GATEWAY_SERVICE.full_name}/GetProfile")
            message = gateway_pb2.GetProfileRequest(user_id="u").SerializeToString()
            for _ in range(int(settings.quotas.calls_per_s * settings.quotas.burst_s) + 20):
                await raw(message, timeout=10)
    finally:
        await stages.stop()


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ([{"sha256": "a" * 64, "role": "read"}, {"sha256": "a" * 64, "role": "write"}], "2 times"),
        ([{"sha256": "a" * 64, "tenant": "../x"}], "tenant"),
        ([{"sha256": "a" * 64, "tenant": "x" * 99}], "tenant"),
        ([{"sha256": "a" * 64, "calls_per_s": 0}], "calls_per_s"),
    ],
)
def test_wrong_keys_stop_the_start(keys: list[dict[str, object]], problem: str) -> None:
    """A digest that comes twice, an impossible tenant and a quota of nothing are refused, and the field is named."""
    with pytest.raises(InvalidArgument, match=problem):
        load_settings(GatewaySettings, {"security": {"api_keys": keys}})


# --- health and reflection, which need no key


async def test_open_streams_are_bounded() -> None:
    """Streams of health and reflection without a key: each address has its share; beyond it they are refused."""
    limits = LimitSettings(open_calls=4, open_calls_of_an_address=3)
    async with gateway(limits=limits) as started, calling(started) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        watched = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(3)]
        for watch in watched:
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        assert retry_s(await refused(health.Watch(health_pb2.HealthCheckRequest(), timeout=10).read())) > 0
        # The health can be checked nevertheless, and the gateway serves.
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
        watched[0].cancel()
        again = health.Watch(health_pb2.HealthCheckRequest(), timeout=10)
        assert (await again.read()).status == health_pb2.HealthCheckResponse.SERVING
        for watch in (*watched, again):
            watch.cancel()


async def test_an_idle_reflection_stream_ends() -> None:
    """A reflection stream whose next message does not come in time ends."""
    async with gateway(limits=LimitSettings(idle_s=0.05)) as started, calling(started) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[arg-type]
        stream = stub.ServerReflectionInfo(timeout=10)
        await stream.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await stream.read()).list_services_response.service
        assert (await refused(stream.read())).code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x0a\x02\xc3\x28"], ids=["no message", "not UTF-8"])
async def test_unreadable_messages_without_a_key(data: bytes) -> None:
    """Bytes that are no message of health or reflection are INVALID_ARGUMENT."""
    async with gateway() as started, calling(started) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        reflect: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        for call in (check(data, timeout=10), watch(data, timeout=10).read(), reflect(iter([data]), timeout=10).read()):
            error = await refused(call)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_large_messages_without_a_key() -> None:
    """A message of health or reflection above 4 KiB is INVALID_ARGUMENT and is not parsed."""
    hostile = bytes.fromhex("0a00") * (4 << 20)
    async with gateway() as started, calling(started) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        watch: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        for call in (check(hostile, timeout=10), watch(hostile, timeout=10).read()):
            error = await refused(call)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "at most 4096" in (error.details() or "")
