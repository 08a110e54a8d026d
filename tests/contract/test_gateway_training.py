"""The calls of `kairos train` through the gateway: the catalogue with vectors, the log, item vectors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import grpc
import numpy as np
import pytest
from numpy.typing import ArrayLike

from kairos.common.v1 import common_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import build_handler
from tests.contract.gateways import Running, running, running_gateway, stages, violated_fields
from tests.contract.refusals import refusal
from tests.fakes.stages import FakeStages

__all__ = ["running", "stages"]  # fixtures

MODEL, SHOPPER = "m@1", "shopper@1"
TEXTS = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
ITEMS = [[1.0, 0.0, 2.0], [0.0, 1.0, 2.0], [3.0, 3.0, 3.0]]
IDS = ["p0", "p1", "p2"]
FAILED = grpc.StatusCode.FAILED_PRECONDITION


def rows(values: ArrayLike, version: str = SHOPPER) -> common_pb2.Vectors:
    return vectors_to_proto(np.asarray(values, np.float32), version)


@pytest.fixture
async def shop(stages: FakeStages, tmp_path: Path) -> AsyncIterator[Running]:
    """A gateway over retrieval as it runs in the suite, with three products."""
    handler = build_handler(RetrievalSettings(data_dir=tmp_path))
    server = grpc.aio.server()
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(handler, server)
    stages.targets["retrieval"] = target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    async with grpc.aio.insecure_channel(target) as channel:
        retrieval: retrieval_pb2_grpc.RetrievalServiceAsyncStub = retrieval_pb2_grpc.RetrievalServiceStub(channel)
        products = [product_pb2.Product(id=id, title="Lamp") for id in IDS]
        await retrieval.UpsertProducts(
            retrieval_pb2.UpsertProductsRequest(products=products, vectors=rows(TEXTS, MODEL))
        )
    async with running_gateway(stages) as one:
        yield one
    await server.stop(None)
    handler.close()


async def failed(call: Awaitable[object]) -> None:
    code, _ = await refusal(call)
    assert code is FAILED


async def test_a_version_of_item_vectors(shop: Running) -> None:
    """It is begun, stored, complete and dropped."""
    begin = gateway_pb2.BeginItemVectorsRequest(model_version=SHOPPER, dimensions=3, map=rows(np.ones((3, 3)), MODEL))
    store = gateway_pb2.StoreItemVectorsRequest(
        ids=[*IDS, "x"], vectors=rows([*ITEMS, ITEMS[0]]), model_version=SHOPPER
    )
    await failed(shop.stub.StoreItemVectors(store))
    await shop.stub.BeginItemVectors(begin)
    assert (await shop.stub.StoreItemVectors(store)).stored_count == 3
    done = gateway_pb2.StoreItemVectorsRequest(model_version=SHOPPER, is_complete=True)
    assert (await shop.stub.StoreItemVectors(done)).stored_count == 0
    (found,) = (await shop.stub.DescribeItemVectors(gateway_pb2.DescribeItemVectorsRequest())).versions
    assert (found.model_version, found.dimensions, found.product_count, found.is_complete) == (SHOPPER, 3, 3, True)
    begin.map.model_version = "m@2"
    begin.model_version = "shopper@2"
    await failed(shop.stub.BeginItemVectors(begin))
    await shop.stub.DropItemVectors(gateway_pb2.DropItemVectorsRequest(model_version=SHOPPER))
    assert not (await shop.stub.DescribeItemVectors(gateway_pb2.DescribeItemVectorsRequest())).versions


async def test_the_catalogue_with_vectors(shop: Running) -> None:
    """Pages of products have their text vectors as float16, zeros for a product without one, if asked for."""
    ask = gateway_pb2.ListProductsRequest(with_vectors=True, page_size=2)
    found: dict[str, list[float]] = {}
    while True:
        page = await shop.stub.ListProducts(ask)
        assert page.vectors.values.dtype == common_pb2.DATA_TYPE_FLOAT16
        assert (page.vectors.model_version, page.HasField("image_vectors")) == (MODEL, False)
        vectors = vectors_from_proto(page.vectors, "vectors").tolist()
        found |= zip([entry.product.id for entry in page.products], vectors, strict=True)
        if page.is_last_page:
            break
        ask.page_token = page.next_page_token
    assert found == dict(zip(IDS, TEXTS.tolist(), strict=True))
    assert not (await shop.stub.ListProducts(gateway_pb2.ListProductsRequest())).HasField("vectors")


async def test_the_log(running: Running) -> None:
    """It is read page by page, and from its end on later again."""
    ask = gateway_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_EVENTS, page_size=2)
    first = await running.stub.ReadLog(ask)
    assert ([event.event_id for event in first.events], first.is_last_page) == (["e0", "e1"], False)
    assert first.request_id
    ask.page_token = first.next_page_token
    last = await running.stub.ReadLog(ask)
    assert ([event.event_id for event in last.events], last.is_last_page) == (["e2"], True)
    running.stages.ranker.logged = 4
    ask.page_token = last.next_page_token
    assert [event.event_id for event in (await running.stub.ReadLog(ask)).events] == ["e3"]
    shown = await running.stub.ReadLog(gateway_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_IMPRESSIONS))
    assert [page.ranking_id for page in shown.impressions] == ["r0", "r1", "r2", "r3"]
    assert not shown.events


async def test_sizes_of_pages_of_the_log(running: Running) -> None:
    """500 records by default, at most 1,000."""
    for asked, sent in ((0, 500), (7, 7), (5_000, 1_000)):
        await running.stub.ReadLog(gateway_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_RANKINGS, page_size=asked))
        request = running.stages.ranker.requests[-1]
        assert isinstance(request, ranker_pb2.ReadLogRequest)
        assert (request.log, request.page_size) == (ranker_pb2.LOG_KIND_RANKINGS, sent)


async def test_bad_requests(running: Running) -> None:
    """A field is refused by its path."""
    stub, log = running.stub, ranker_pb2.LOG_KIND_EVENTS
    assert await violated_fields(stub.ReadLog(gateway_pb2.ReadLogRequest())) == ["log"]
    damaged = gateway_pb2.ReadLogRequest(log=log, page_token="damaged")
    assert await violated_fields(stub.ReadLog(damaged)) == ["page_token"]
    begin = gateway_pb2.BeginItemVectorsRequest(model_version=SHOPPER, dimensions=2, map=rows([[1, 2, 3]], MODEL))
    assert await violated_fields(stub.BeginItemVectors(begin)) == ["map.values.shape"]
    store = gateway_pb2.StoreItemVectorsRequest
    for request, field in (
        (store(), "model_version"),
        (store(model_version=SHOPPER, vectors=rows([[1]])), "ids"),
        (store(model_version=SHOPPER, ids=["a"]), "vectors.model_version"),
        (store(model_version=SHOPPER, ids=["a", "a"], vectors=rows([[1], [1]])), "ids"),
        (store(model_version=SHOPPER, ids=["a", "b"], vectors=rows([[1]])), "vectors.values.shape"),
        (store(model_version=SHOPPER, ids=["a"], vectors=rows([[1]], "x")), "vectors.model_version"),
    ):
        assert await violated_fields(stub.StoreItemVectors(request)) == [field]


async def test_no_fallback(running: Running) -> None:
    """Without the ranker the log is UNAVAILABLE, never an empty page."""
    await running.stages.worsen("ranker", "down")
    code, _ = await refusal(running.stub.ReadLog(gateway_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_EVENTS)))
    assert code is grpc.StatusCode.UNAVAILABLE
