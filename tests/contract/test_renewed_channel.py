"""Connections to a stage are replaced when they have grown old, over real gRPC: as behind a Service of Kubernetes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import cast

import grpc
import pytest

from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.gateway.adapters.renewed_channel import OWN_CONNECTION, RenewedChannel
from tests.contract.test_replicas import Clock, Pricing, place
from tests.fakes.waiting import until

_AGE_S = 30.0


class Balancer:
    """As a Service: each new connection goes to the pod that is now `behind`."""

    def __init__(self) -> None:
        self.behind, self.opened = 0, 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.behind)
        await asyncio.gather(_carry(reader, other_writer), _carry(other_reader, writer))

    async def stop(self) -> None:
        self._server.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


class Behind:
    """A channel through a balancer to an old pod; `new` is the pod of an upgrade."""

    def __init__(self, balancer: Balancer, clock: Clock, old: Pricing, new: Pricing, new_port: int) -> None:
        self.balancer, self.clock, self.old, self.new, self.new_port = balancer, clock, old, new, new_port
        address = f"127.0.0.1:{balancer.port}"
        self.channel = RenewedChannel(lambda: grpc.aio.insecure_channel(address, [OWN_CONNECTION]), _AGE_S, clock)
        self._stub = pricing_pb2_grpc.PricingServiceStub(cast(grpc.aio.Channel, self.channel))

    async def call(self) -> None:
        await self._stub.QuotePrices(pricing_pb2.QuotePricesRequest(), timeout=10)

    async def renewed(self) -> None:
        """Until another connection has been opened and calls use it."""
        before = self.balancer.opened
        async with asyncio.timeout(10):
            while self.balancer.opened == before:
                await self.channel.renew()
                await asyncio.sleep(0.02)
            while not self.new.calls:
                await self.channel.renew()
                await self.call()


@pytest.fixture
async def behind() -> AsyncIterator[Behind]:
    async with AsyncExitStack() as stack:
        old, new, balancer = Pricing(), Pricing(), Balancer()
        first, second = [await stack.enter_async_context(place(servicer)) for servicer in (old, new)]
        balancer.behind = first.port
        await balancer.start()
        behind = Behind(balancer, Clock(), old, new, second.port)
        yield behind
        await behind.channel.close()
        await balancer.stop()


async def test_calls_go_to_a_new_pod_once_the_connection_is_old(behind: Behind) -> None:
    """A young connection stays with its pod; an old one is replaced, though its pod still answers."""
    await behind.call()
    behind.balancer.behind = behind.new_port
    behind.clock.now_s += 0.8 * _AGE_S
    await behind.channel.renew()
    await behind.call()
    assert (behind.old.calls, behind.new.calls, behind.balancer.opened) == (2, 0, 1)
    behind.clock.now_s += 0.4 * _AGE_S
    await behind.renewed()
    before = behind.old.calls
    await behind.call()
    assert behind.old.calls == before


async def test_a_call_in_progress_ends_where_it_began(behind: Behind) -> None:
    """The old connection is closed when its last call has ended."""
    behind.old.open.clear()
    in_progress = asyncio.create_task(behind.call())
    await until(lambda: behind.old.calls == 1)
    behind.balancer.behind = behind.new_port
    behind.clock.now_s += 1.2 * _AGE_S
    others: list[asyncio.Task[None]] = []
    while not behind.new.calls:
        await behind.channel.renew()
        others.append(asyncio.create_task(behind.call()))
        await until(lambda: behind.old.calls + behind.new.calls > len(others))
    await behind.channel.renew()
    assert not in_progress.done()
    behind.old.open.set()
    await asyncio.gather(in_progress, *others)


async def test_an_old_connection_stays_while_there_is_no_other(behind: Behind) -> None:
    """While no new connection can be made, calls go on over the old one."""
    await behind.call()
    await behind.balancer.stop()
    behind.clock.now_s += 2 * _AGE_S
    for _ in range(3):
        await behind.channel.renew()
        await behind.call()
    assert behind.old.calls == 4
