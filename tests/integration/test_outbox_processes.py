"""Quotes from pricing's process to control's process, with kill -9 of both: what was answered is on record, once."""

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
from tests.integration.processes import Process, free_port, started, wait_for
from tests.integration.redis_server import RedisServer

ITEMS, CALLERS = 200, 3
# How often pricing, control and Redis are each killed.
KILLS = 3
_PATIENCE_S = 120.0


class Callers:
    """Ask for quotes until there are `most` of them, and call again while pricing is down. `given`: the ids of all
    quotes that were answered.
    """

    def __init__(self, pricing: Process, most: int) -> None:
        self._pricing, self._most = pricing, most
        self.given = list[str]()

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
        while len(self.given) < self._most:
            port = self._pricing.lines[-1]
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = pricing_pb2_grpc.PricingServiceStub(channel)
                try:
                    while len(self.given) < self._most:
                        answer = await stub.QuotePrices(request, timeout=10)
                        self.given += [quote.quote_id for quote in answer.quotes]
                except grpc.aio.AioRpcError as error:
                    if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                        raise
            await asyncio.sleep(0.05)  # between two tries to connect


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


@pytest.mark.parametrize(("kind", "most"), [("file", 100_000), ("redis", 20_000)])
async def test_every_answered_quote_is_on_record_once(kind: str, most: int, tmp_path: Path) -> None:
    """While pricing and control, and Redis if it has the outbox, are killed several times."""
    port = free_port()
    of_control = {
        "KAIROS_CONTROL_DATA_DIR": str(tmp_path / "control"),
        "KAIROS_CONTROL_SERVER__PORT": str(port),
        "KAIROS_CONTROL_METRICS__PORT": "0",
    }
    of_pricing = {"KAIROS_PRICING_CONTROL__TARGET": f"127.0.0.1:{port}"}
    redis = RedisServer(tmp_path) if kind == "redis" else None
    url = f"redis://127.0.0.1:{redis.port}" if redis else ""
    if url:
        of_pricing["KAIROS_PRICING_REDIS_URL"] = url
    try:
        with (
            started(Process("services.control", **of_control)) as control,
            started(Process("tests.contract.serving", "pricing", str(tmp_path / "pricing"), **of_pricing)) as pricing,
        ):
            wait_for(lambda: bool(pricing.lines))
            callers = Callers(pricing, most)
            asking = asyncio.create_task(callers.run())
            victims: list[Process | RedisServer] = [control, pricing, *([redis] if redis else [])]
            for turn in range(KILLS):
                for place, victim in enumerate(victims):
                    due = int((turn + 0.3 * place + 0.3) / KILLS * most)
                    await _patiently(partial(_has, callers, due), asking)
                    victim.kill()
                    await asyncio.to_thread(victim.start)
            await asking
            outbox = build_outbox(OutboxSettings(), "pricing", tmp_path / "pricing", url)
            await _patiently(partial(_is_empty, outbox), None)
            outbox.close()
            entries = list(recorded(port))
    finally:
        if redis:
            redis.kill()
    assert len(entries) == len(set(entries))
    assert len(callers.given) == len(set(callers.given)) >= most
    assert set(callers.given) <= set(entries)
    # Quotes that were written and whose answer was lost.
    assert len(entries) - len(callers.given) <= 2 * KILLS * CALLERS * ITEMS


async def _patiently(is_so: Callable[[], bool], asking: asyncio.Task[None] | None) -> None:
    """Until it is so. What `asking` raises meanwhile is raised."""
    async with asyncio.timeout(_PATIENCE_S):
        while not is_so():
            if asking is not None and asking.done():
                asking.result()
            await asyncio.sleep(0.02)  # until another process has got on


def _has(callers: Callers, count: int) -> bool:
    return len(callers.given) >= count


def _is_empty(outbox: Outbox) -> bool:
    return outbox.size().entries == 0
