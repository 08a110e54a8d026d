"""The gateway calls replicas on loopback directly, over real gRPC; through the ingress when that is not possible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import grpc
import pytest

from deploy.secrets import Authority
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common.errors import Unauthenticated, Unavailable
from services.common.replica_file import write_replicas
from services.common.rpc import rpc
from services.gateway.adapters.stage_route import StageRoute
from services.gateway.settings import GatewaySettings, MetricsSettings
from services.gateway.wiring import Gateway, build_gateway
from tests.fakes.waiting import until


class Pricing(pricing_pb2_grpc.PricingServiceServicer):
    """Counts its calls; holds them while `open` is not set; `error` is what it answers with."""

    def __init__(self, error: Exception | None = None) -> None:
        self.calls, self.error, self.open = 0, error, asyncio.Event()
        self.open.set()

    @rpc(pricing_pb2.QuotePricesResponse)
    async def QuotePrices(self, request: pricing_pb2.QuotePricesRequest) -> pricing_pb2.QuotePricesResponse:
        self.calls += 1
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return pricing_pb2.QuotePricesResponse()


@dataclass
class Place:
    """A gRPC server on loopback, with the pricing service unless `servicer` is None."""

    servicer: Pricing | None
    port: int
    server: grpc.aio.Server


@asynccontextmanager
async def place(servicer: Pricing | None) -> AsyncIterator[Place]:
    server = grpc.aio.server()
    if servicer is not None:
        pricing_pb2_grpc.add_PricingServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield Place(servicer, port, server)
    await server.stop(None)


class Line:
    """Carries bytes from a port of its own to a server. Cut, it behaves as the port of a killed process."""

    _server: asyncio.Server

    def __init__(self) -> None:
        self.port = 0
        self._ends: list[asyncio.StreamWriter] = []
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    async def to(cls, port: int) -> Line:
        line = cls()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
            line._ends += [writer, other_writer]
            line._tasks += [
                asyncio.create_task(_carry(reader, other_writer)),
                asyncio.create_task(_carry(other_reader, writer)),
            ]

        line._server = await asyncio.start_server(connected, "127.0.0.1", 0)
        line.port = line._server.sockets[0].getsockname()[1]
        return line

    def cut(self) -> None:
        self._server.close()
        for end in self._ends:
            end.transport.abort()
        for task in self._tasks:
            task.cancel()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)


@dataclass
class Clock:
    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Stage:
    """A route to an ingress and replicas. `ports` are those of all replicas that have been started."""

    route: StageRoute
    ingress: Pricing
    clock: Clock
    stack: AsyncExitStack
    stub: pricing_pb2_grpc.PricingServiceAsyncStub
    places: list[Place] = field(default_factory=list)

    async def add(self, *servicers: Pricing | None) -> list[Place]:
        """Starts replicas and waits until the route is connected to all of them."""
        self.places += [await self.stack.enter_async_context(place(servicer)) for servicer in servicers]
        self.use(self.places)
        await until(lambda: self.route.connected == len(self.places))
        return self.places[-len(servicers) :]

    def use(self, places: list[Place]) -> None:
        self.route.use({f"replica {one.port}": one.port for one in places})

    async def call(self, timeout_s: float = 10.0) -> grpc.StatusCode:
        try:
            await self.stub.QuotePrices(pricing_pb2.QuotePricesRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async def code(self) -> grpc.StatusCode:
        return await self.call()


OK = grpc.StatusCode.OK


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        ingress, clock = Pricing(), Clock()
        behind = await stack.enter_async_context(place(ingress))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{behind.port}"))
        route = StageRoute("pricing", channel, clock=clock)
        stub = pricing_pb2_grpc.PricingServiceStub(cast(grpc.aio.Channel, route))
        yield Stage(route, ingress, clock, stack, stub)
        await route.close()


async def test_the_least_busy_replica_is_called(stage: Stage) -> None:
    """While one replica works the other one gets the calls; without work they take turns; the ingress gets none."""
    busy, idle = Pricing(), Pricing()
    await stage.add(busy, idle)
    busy.open.clear()
    first = asyncio.create_task(stage.code())
    await until(lambda: busy.calls + idle.calls == 1)
    if idle.calls:  # it took the first call
        assert await first is OK
        first = asyncio.create_task(stage.code())
        await until(lambda: busy.calls == 1)
    before = idle.calls
    for _ in range(5):
        assert await stage.call() is OK
    assert (busy.calls, idle.calls) == (1, before + 5)
    busy.open.set()
    assert await first is OK
    before = idle.calls
    for _ in range(4):
        stage.clock.now_s += 1
        assert await stage.call() is OK
    assert (busy.calls, idle.calls) == (3, before + 2)
    assert stage.ingress.calls == 0


async def test_a_replica_that_hangs_is_avoided(stage: Stage) -> None:
    """A call that ended at its deadline counts as outstanding for a while."""
    hanging, well = Pricing(), Pricing()
    await stage.add(hanging, well)
    hanging.open.clear()
    codes = [await stage.call(timeout_s=0.05) for _ in range(6)]
    assert codes.count(grpc.StatusCode.DEADLINE_EXCEEDED) == 1
    assert well.calls == 5
    hanging.open.set()


async def test_a_replica_that_dies(stage: Stage) -> None:
    """No call fails when a replica is killed: the one in progress and the next ones go through the ingress."""
    dying = Pricing()
    behind = await stage.stack.enter_async_context(place(dying))
    line = await Line.to(behind.port)
    stage.route.use({"replica": line.port})
    await until(lambda: stage.route.connected == 1)
    dying.open.clear()
    in_progress = asyncio.create_task(stage.code())
    await until(lambda: dying.calls == 1)
    line.cut()
    assert [await stage.call() for _ in range(20)] == [OK] * 20
    assert await in_progress is OK
    assert (dying.calls, stage.ingress.calls) == (1, 21)
    dying.open.set()


async def test_replicas_come_and_go(stage: Stage) -> None:
    """A new replica gets calls; a removed one gets no more, and its call in progress ends well."""
    old, new = Pricing(), Pricing()
    await stage.add(old)
    old.open.clear()
    in_progress = asyncio.create_task(stage.code())
    await until(lambda: old.calls == 1)
    (added,) = await stage.add(new)
    stage.use([added])
    await stage.route.tidy()
    assert [await stage.call() for _ in range(5)] == [OK] * 5
    old.open.set()
    assert await in_progress is OK
    assert (old.calls, new.calls, stage.ingress.calls) == (1, 5, 0)


@pytest.mark.parametrize("error", [None, Unauthenticated("another secret")])
async def test_a_process_that_is_no_replica(stage: Stage, error: Exception | None) -> None:
    """A process that lacks the method, or that refuses the secret because it belongs to another suite, gets one call a
    second; the ingress answers that one too.
    """
    stranger = None if error is None else Pricing(error)
    await stage.add(stranger)
    assert [await stage.call() for _ in range(5)] == [OK] * 5
    assert stage.ingress.calls == 5
    if stranger is not None:
        assert stranger.calls == 1
        stage.clock.now_s += 1.1
        assert [await stage.call() for _ in range(5)] == [OK] * 5
        assert stranger.calls == 2


async def test_an_error_of_the_stage_is_passed_on(stage: Stage) -> None:
    """What the stage itself answers is not asked for again, also if the code is UNAVAILABLE."""
    failing = Pricing(Unavailable("the store is away"))
    await stage.add(failing)
    assert await stage.call() is grpc.StatusCode.UNAVAILABLE
    assert (failing.calls, stage.ingress.calls) == (1, 0)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    (tmp_path / "ca.pem").write_text(Authority(datetime.now(UTC)).certificate("kairos-stage")["ca.crt"])
    return tmp_path / "ca.pem"


@asynccontextmanager
async def gateway(ingress: Place, file: Path) -> AsyncIterator[Gateway]:
    settings = GatewaySettings(
        stages={"pricing": {"target": f"127.0.0.1:{ingress.port}"}},  # type: ignore[arg-type]
        replicas_file=str(file), metrics=MetricsSettings(port=0),
    )  # fmt: skip
    started = build_gateway(settings)
    yield started
    await started.close()


def direct(started: Gateway) -> float | None:
    return started.parts.metrics.registry.get_sample_value("kairos_gateway_direct_replicas", {"stage": "pricing"})


async def test_the_file_is_followed(tmp_path: Path) -> None:
    """The replicas that the file names are called; without it, or if it is half-written, the ingress is."""
    file, request = tmp_path / "replicas.json", pricing_pb2.QuotePricesRequest()
    async with place(Pricing()) as ingress, place(Pricing()) as replica, gateway(ingress, file) as started:
        assert ingress.servicer
        assert replica.servicer
        await started.clients.stubs.pricing.QuotePrices(request, timeout=10)
        write_replicas(file, {"pricing": {"one": replica.port}})
        await until(lambda: direct(started) == 1)
        await started.clients.stubs.pricing.QuotePrices(request, timeout=10)
        assert (ingress.servicer.calls, replica.servicer.calls) == (1, 1)
        for damage in (lambda: file.write_text('{"pricing": {"on'), file.unlink):
            damage()
            await until(lambda: direct(started) == 0)
            await started.clients.stubs.pricing.QuotePrices(request, timeout=10)
            write_replicas(file, {"pricing": {"one": replica.port}})
            await until(lambda: direct(started) == 1)
        assert (ingress.servicer.calls, replica.servicer.calls) == (3, 1)


async def test_tls_needs_the_ingress(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TLS to the ingress no replica is called: its own port has none."""
    monkeypatch.setenv("KAIROS_STAGE_ACCESS_CA", str(certificate))
    file = tmp_path / "replicas.json"
    async with place(Pricing()) as replica, gateway(replica, file) as started:
        assert replica.servicer
        write_replicas(file, {"pricing": {"one": replica.port}})
        with pytest.raises(grpc.aio.AioRpcError):
            await started.clients.stubs.pricing.QuotePrices(pricing_pb2.QuotePricesRequest(), timeout=1)
        assert replica.servicer.calls == 0
        assert direct(started) is None
