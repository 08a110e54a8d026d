"""A stage with too many calls, or with too little time, over real gRPC: what it refuses, and what it does not begin."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeAlias, cast

import grpc
import numpy as np
import pytest

from kairos.common.v1 import common_pb2
from kairos.pricing.v1 import pricing_pb2, pricing_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from services.common.call_limit import MOST_CALLS
from services.common.rpc import rpc
from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.catalogue.catalogue import Catalogue
from services.retrieval.domain.fusion import FixedFusion
from services.retrieval.domain.legs import KeyArray
from services.retrieval.handler import RetrievalHandler
from services.retrieval.ports import Found, ProductIndex
from services.retrieval.search import Retriever
from tests.contract.refusals import reason_of
from tests.fakes.waiting import until

# In quotes: only the stubs' type files know these names.
PricingStub: TypeAlias = "pricing_pb2_grpc.PricingServiceAsyncStub"
RetrievalStub: TypeAlias = "retrieval_pb2_grpc.RetrievalServiceAsyncStub"
SEARCH = retrieval_pb2.RetrieveCandidatesRequest(text="lamp")


class HeldPricing(pricing_pb2_grpc.PricingServiceServicer):
    """Answers when `gate` is open; records how much time each call has, in milliseconds."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.times_ms: list[int] = []

    @rpc(pricing_pb2.QuotePricesResponse)
    async def QuotePrices(self, request: pricing_pb2.QuotePricesRequest) -> pricing_pb2.QuotePricesResponse:
        self.times_ms.append(request.context.budget.remaining.ToMilliseconds())
        await self.gate.wait()
        return pricing_pb2.QuotePricesResponse()


class HeldIndex:
    """An empty index. Searches begin, and end when `gate` is open; other reads are answered at once."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.begun: list[str] = []

    def pinned(self, tenant: str, model_version: str = "") -> HeldIndex:
        return self

    def model_version(self, tenant: str) -> str:
        return ""

    image_model_version = model_version

    def catalogue(self, tenant: str) -> Catalogue:
        return Catalogue()

    def words(self, text: str) -> tuple[int, ...]:
        return ()

    def keys(self, ids: Sequence[str]) -> KeyArray:
        return np.empty(0, np.uint64)

    def find(self, tenant: str, legs: Any, narrowings: Any, depth: int, columns: Any = None) -> Found:
        self.begun.append(legs[0].query)
        self.gate.wait(10)
        return Found(((),) * len(narrowings), np.empty(0, np.uint32), Candidates.none())

    def lookup(self, tenant: str, ids: Any, columns: Any) -> Candidates:
        return Candidates.none()

    def fetch(self, tenant: str, keys: Any, columns: Any) -> Candidates:
        return Candidates.none()

    def close(self) -> None: ...


@pytest.fixture
async def pricing() -> AsyncIterator[tuple[HeldPricing, PricingStub]]:
    held, server = HeldPricing(), grpc.aio.server()
    pricing_pb2_grpc.add_PricingServiceServicer_to_server(held, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield held, pricing_pb2_grpc.PricingServiceStub(channel)
        held.gate.set()
    await server.stop(None)


@pytest.fixture
async def retrieval() -> AsyncIterator[tuple[HeldIndex, RetrievalStub]]:
    """With one thread for searches."""
    index, server = HeldIndex(), grpc.aio.server()
    retriever = Retriever(cast(ProductIndex, index), FixedFusion("linear", 0.3, 0.7, 1.0, 60))
    handler = RetrievalHandler(retriever, workers=1, answer_cache_mb=0)
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield index, retrieval_pb2_grpc.RetrievalServiceStub(channel)
        index.gate.set()
    await server.stop(None)
    handler.close()


def with_budget(milliseconds: int) -> common_pb2.RequestContext:
    context = common_pb2.RequestContext()
    context.budget.remaining.FromMilliseconds(milliseconds)
    return context


async def test_the_call_beyond_the_bound_is_refused(pricing: tuple[HeldPricing, PricingStub]) -> None:
    """While a process works on its most calls of a method, a further one is refused as overloaded; later it is not."""
    held, stub = pricing
    request = pricing_pb2.QuotePricesRequest()
    running = [stub.QuotePrices(request) for _ in range(MOST_CALLS)]
    await until(lambda: len(held.times_ms) == MOST_CALLS)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.QuotePrices(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(caught.value) == "OVERLOADED"
    held.gate.set()
    await asyncio.gather(*running)
    await stub.QuotePrices(request)


async def test_a_cancelled_call_gives_its_place_back(pricing: tuple[HeldPricing, PricingStub]) -> None:
    """A call that its client cancels takes no place any more."""
    held, stub = pricing
    request = pricing_pb2.QuotePricesRequest()
    running = [stub.QuotePrices(request) for _ in range(MOST_CALLS)]
    await until(lambda: len(held.times_ms) == MOST_CALLS)
    running[0].cancel()
    held.times_ms.clear()

    async def admitted() -> None:
        while not held.times_ms:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.QuotePrices(request, timeout=0.2)

    await asyncio.wait_for(admitted(), 10)


async def test_the_deadline_of_the_call_is_its_budget(pricing: tuple[HeldPricing, PricingStub]) -> None:
    """gRPC's own deadline is the budget if the message names none or a later one; an earlier budget stays."""
    held, stub = pricing
    held.gate.set()
    await stub.QuotePrices(pricing_pb2.QuotePricesRequest(), timeout=5)
    await stub.QuotePrices(pricing_pb2.QuotePricesRequest(context=with_budget(60_000)), timeout=5)
    await stub.QuotePrices(pricing_pb2.QuotePricesRequest(context=with_budget(1_000)), timeout=60)
    # gRPC sends a deadline with two digits, rounded up.
    for time_ms, most_ms in zip(held.times_ms, (5_100, 5_100, 1_000), strict=True):
        assert most_ms / 2 < time_ms <= most_ms


async def test_work_of_a_cancelled_call_is_not_begun(retrieval: tuple[HeldIndex, RetrievalStub]) -> None:
    """A search that is cancelled while it waits for a thread is not executed, and the next one is."""
    index, stub = retrieval
    first = stub.RetrieveCandidates(SEARCH)
    await until(lambda: len(index.begun) == 1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RetrieveCandidates(retrieval_pb2.RetrieveCandidatesRequest(text="gone"), timeout=0.1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    index.gate.set()
    await first
    await stub.RetrieveCandidates(retrieval_pb2.RetrieveCandidatesRequest(text="next"))
    assert index.begun == ["lamp", "next"]


async def test_expired_work_is_not_begun(retrieval: tuple[HeldIndex, RetrievalStub]) -> None:
    """A search whose budget ends while it waits for a thread is not executed, although nobody cancels the call."""
    index, stub = retrieval
    first = stub.RetrieveCandidates(SEARCH)
    await until(lambda: len(index.begun) == 1)
    late = stub.RetrieveCandidates(retrieval_pb2.RetrieveCandidatesRequest(text="late", context=with_budget(50)))
    await asyncio.sleep(0.1)  # of the budget, which is on the clock of the process
    index.gate.set()
    await first
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await late
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert reason_of(caught.value) == "BUDGET_EXPIRED"
    assert index.begun == ["lamp"]


async def test_reads_do_not_wait_for_searches(retrieval: tuple[HeldIndex, RetrievalStub]) -> None:
    """While all threads of searches are busy and their places taken, products are still read by id."""
    index, stub = retrieval
    searches = [stub.RetrieveCandidates(SEARCH) for _ in range(MOST_CALLS)]
    await until(lambda: len(index.begun) == 1)
    found = await stub.LookupProducts(retrieval_pb2.LookupProductsRequest(ids=["a"]), timeout=10)
    assert list(found.missing_ids) == ["a"]
    index.gate.set()
    await asyncio.gather(*searches)
