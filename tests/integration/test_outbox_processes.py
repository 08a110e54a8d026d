"""Quotes from pricing's process to control's process, with kill -9 of both and of their stores: what was answered is on
record, once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from kairos.common.v1 import common_pb2
from kairos.control.v1 import audit_pb2, audit_pb2_grpc
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from services.common.outbox.outbox import Outbox
from services.common.outbox.settings import OutboxSettings, build_outbox
from tests.integration.postgres_server import PostgresServer
from tests.integration.processes import Process, free_port, started, wait_for
from tests.integration.redis_server import RedisServer

ITEMS, CALLERS = 50, 3
# How often each process is killed.
KILLS = 2
# Between two calls of a caller: processes start faster beside less work.
_PAUSE_S = 0.05
_PATIENCE_S = 120.0


class Callers:
    """Ask for quotes until `stop`, and call again while pricing is down. `given`: the ids of all quotes that were
    answered.
    """

    def __init__(self, pricing: Process) -> None:
        self._pricing = pricing
        self.given, self.stop = list[str](), asyncio.Event()

    async def run(self) -> None:
        await asyncio.gather(*(self._call() for _ in range(CALLERS)))

    async def _call(self) -> None:
        request = pricing_pb2.QuotePricesRequest(
            items=[
                pricing_pb2.PricedItem(
                    item_id=f"i{number}", list_price=common_pb2.Money(currency_code="USD", units=9 + number)
                )
                for number in range(ITEMS)
            ]
        )
        while not self.stop.is_set():
            port = self._pricing.lines[-1]
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = pricing_pb2_grpc.PricingServiceStub(channel)
                try:
                    while not self.stop.is_set():
                        answer = await stub.QuotePrices(request, timeout=10)
                        self.given += [quote.quote_id for quote in answer.quotes]
                        await asyncio.sleep(_PAUSE_S)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                        raise
            await asyncio.sleep(_PAUSE_S)


def recorded(port: int) -> Iterator[str]:
    """The ids of all entries that control has, page by page."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = audit_pb2_grpc.AuditServiceStub(channel)
        request = audit_pb2.ListEntriesRequest(page_size=500)
        while True:
            page = stub.ListEntries(request, timeout=20)
            yield from (entry.id for entry in page.entries)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


@pytest.mark.parametrize("store", ["postgresql", "redis"])
async def test_every_answered_quote_is_on_record_once(
    store: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """While control, pricing and a store are killed in turn, and quotes are answered without control and PostgreSQL.

    PostgreSQL has control's record, with a file as the outbox; Redis has the outbox, with a file as the record.
    """
    port = free_port()
    of_control = {
        "KAIROS_CONTROL_DATA_DIR": str(tmp_path / "control"),
        "KAIROS_CONTROL_SERVER__PORT": str(port),
        "KAIROS_CONTROL_METRICS__PORT": "0",
    }
    of_pricing = {"KAIROS_PRICING_CONTROL__TARGET": f"127.0.0.1:{port}"}
    postgres: PostgresServer | None = None
    if store == "postgresql":
        postgres = request.getfixturevalue("postgres_server")
        of_control["KAIROS_CONTROL_DATABASE_URL"] = postgres.database()
    redis = RedisServer(tmp_path) if store == "redis" else None
    url = f"redis://127.0.0.1:{redis.port}" if redis else ""
    if url:
        of_pricing["KAIROS_PRICING_REDIS_URL"] = url
    try:
        with (
            started(Process("services.control", **of_control)) as control,
            started(Process("tests.contract.serving", "pricing", str(tmp_path / "pricing"), **of_pricing)) as pricing,
        ):
            wait_for(lambda: bool(pricing.lines))
            callers = Callers(pricing)
            asking = asyncio.create_task(callers.run())
            victims = [each for each in (postgres, control, pricing, redis) if each]
            for victim in victims * KILLS:
                # A control that starts without its PostgreSQL ends.
                await _patiently(partial(_records, port), asking)
                await _patiently(partial(_has, callers, len(callers.given) + 1), asking)
                victim.kill()
                if victim in (postgres, control):
                    await _patiently(partial(_has, callers, len(callers.given) + 1), asking)
                await asyncio.to_thread(victim.start)
            await _patiently(partial(_has, callers, len(callers.given) + 1), asking)
            callers.stop.set()
            await asking
            outbox = build_outbox(OutboxSettings(), "pricing", tmp_path / "pricing", url)
            await _patiently(partial(_is_empty, outbox), None)
            outbox.close()
            entries = list(recorded(port))
    finally:
        if redis:
            redis.kill()
    assert len(entries) == len(set(entries))
    assert len(callers.given) == len(set(callers.given))
    assert set(callers.given) <= set(entries)
    # Quotes that were written and whose answer was lost.
    assert len(entries) - len(callers.given) <= 2 * KILLS * CALLERS * ITEMS


async def _patiently(is_so: Callable[[], bool], asking: asyncio.Task[None] | None) -> None:
    """Until it is so. What `asking` raises meanwhile is raised."""
    async with asyncio.timeout(_PATIENCE_S):
        while not await asyncio.to_thread(is_so):
            if asking is not None and asking.done():
                asking.result()
            await asyncio.sleep(0.02)  # until another process has got on


def _has(callers: Callers, count: int) -> bool:
    return len(callers.given) >= count


def _records(port: int) -> bool:
    """Whether control and its database answer."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            audit_pb2_grpc.AuditServiceStub(channel).ListEntries(audit_pb2.ListEntriesRequest(page_size=1), timeout=5)
        except grpc.RpcError:
            return False
        return True


def _is_empty(outbox: Outbox) -> bool:
    return outbox.size().entries == 0
