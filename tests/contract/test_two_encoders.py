"""Two text encoders in one service over real gRPC, and how the gateway uses the two vectors of a query."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TypeAlias

import grpc
import numpy as np
import pytest

from kairos.common.v1 import common_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.common.errors import InvalidArgument
from services.common.settings import load_settings
from services.query_encoder.adapters.sqlite_lexicon import SqliteLexiconStore
from services.query_encoder.handler import QueryEncoderHandler
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_handler
from tests.contract.gateways import BUDGET_S, Running, running, stages
from tests.contract.test_gateway_pictures import asked_of_retrieval
from tests.fakes.stages import MODEL

__all__ = ["running", "stages"]  # fixtures

FIRST, SECOND = "all-minilm-l6-v2@1", "the-same-again@2"
Stub: TypeAlias = "encoder_pb2_grpc.QueryEncoderServiceAsyncStub"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("query_encoder")


@pytest.fixture(scope="module")
def handler(folder: Path) -> Iterator[QueryEncoderHandler]:
    """The embedded model under two names, the second one in full precision."""
    built = build_handler(QueryEncoderSettings(data_dir=folder, other_model_version=SECOND, bulk_threads=1))
    yield built
    built.close()


@pytest.fixture
async def stub(handler: QueryEncoderHandler) -> AsyncIterator[Stub]:
    server = grpc.aio.server()
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield encoder_pb2_grpc.QueryEncoderServiceStub(channel)
    await server.stop(None)


async def test_a_query_has_vectors_of_both(stub: Stub) -> None:
    """`vector` is that of the first model, `other_vectors` has that of the second, each with its model version."""
    said = await stub.EncodeQuery(encoder_pb2.EncodeQueryRequest(text="running shoes"))
    assert [said.vector.model_version, *(v.model_version for v in said.other_vectors)] == [FIRST, SECOND]
    np.testing.assert_allclose(
        vectors_from_proto(said.vector, "v"), vectors_from_proto(said.other_vectors[0], "v"), atol=1e-6
    )


async def test_a_language_that_neither_knows(stub: Stub) -> None:
    """A text that neither model knows has no vector."""
    said = await stub.EncodeQuery(encoder_pb2.EncodeQueryRequest(text="量子纠缠"))
    assert not said.HasField("vector")
    assert not said.other_vectors


async def test_the_session_of_one_model(stub: Stub) -> None:
    """A session vector moves only the query vector of its own model."""
    session = vectors_to_proto(np.eye(1, 384, dtype=np.float32), SECOND)
    context = encoder_pb2.QueryContext(session=session)
    said = await stub.EncodeQuery(encoder_pb2.EncodeQueryRequest(text="running shoes", query_context=context))
    first, second = (vectors_from_proto(v, "v")[0] for v in (said.vector, said.other_vectors[0]))
    assert second[0] > first[0] + 0.05


PRODUCTS = [product_pb2.Product(id="1", title="Red running shoes"), product_pb2.Product(id="2", title="HDMI cable")]


async def test_products_of_an_import(stub: Stub, folder: Path) -> None:
    """Products have vectors of both models; their words are added to the lexicon once."""
    tenant = common_pb2.RequestContext(tenant="imports")
    said = await stub.EncodeProducts(encoder_pb2.EncodeProductsRequest(context=tenant, products=PRODUCTS))
    assert [said.vectors.model_version, *(v.model_version for v in said.other_vectors)] == [FIRST, SECOND]
    assert [v.values.shape[0] for v in (said.vectors, *said.other_vectors)] == [2, 2]
    store = SqliteLexiconStore(folder)
    assert store.read("imports", None).words["cable"] == 1
    store.close()


async def test_products_that_are_in_the_catalogue(stub: Stub, folder: Path) -> None:
    """With a model version, products have vectors of that model only, and their words are not counted again."""
    tenant = common_pb2.RequestContext(tenant="again")
    request = encoder_pb2.EncodeProductsRequest(context=tenant, products=PRODUCTS)
    await stub.EncodeProducts(request)
    request.model_version = SECOND
    said = await stub.EncodeProducts(request)
    assert (said.vectors.model_version, list(said.other_vectors)) == (SECOND, [])
    store = SqliteLexiconStore(folder)
    assert store.read("again", None).words["cable"] == 1
    store.close()


async def test_a_model_that_is_not_served(stub: Stub) -> None:
    """An unknown model version is FAILED_PRECONDITION that names the served versions and the settings."""
    request = encoder_pb2.EncodeProductsRequest(products=PRODUCTS, model_version="m@9")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.EncodeProducts(request)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    for name in (FIRST, SECOND, "KAIROS_QUERY_ENCODER_OTHER_MODEL_VERSION"):
        assert name in (caught.value.details() or "")


@pytest.mark.parametrize(
    "wrong", [{"other_model_version": FIRST}, {"other_model_dir": "/nowhere"}], ids=["same name", "no name"]
)
def test_settings_that_name_no_second_model(wrong: dict[str, str]) -> None:
    """Two models with one version, or a folder without a version, are refused at the start."""
    with pytest.raises(InvalidArgument, match="other_model_version"):
        load_settings(QueryEncoderSettings, wrong)


async def test_the_collection_chooses(running: Running) -> None:
    """Retrieval gets the vectors of both models; the ranker gets the one of the collection that answered."""
    other = vectors_to_proto(np.array([[0, 1, 0]], np.float32), "m@0")
    # The first model's is not the collection's: FakeRetrieval answers for MODEL.
    running.stages.encoder.read.vector.model_version = "m@2"
    second = vectors_to_proto(np.array([[0, 1]], np.float32), MODEL)
    running.stages.encoder.read.other_vectors.extend([other, second])
    await running.stub.Search(gateway_pb2.SearchRequest(query="red", session_id="s"), timeout=BUDGET_S)
    asked = asked_of_retrieval(running)
    assert [asked.query_vectors.model_version, *(v.model_version for v in asked.other_query_vectors)] == [
        "m@2", "m@0", MODEL,
    ]  # fmt: skip
    ranked = [r for r in running.stages.ranker.requests if isinstance(r, ranker_pb2.RankItemsRequest)][-1]
    assert ranked.query_vector == second
    # The session continues with vectors of that model: only that model's vector is moved by it.
    running.stages.ranker.sessions["s"] = vectors_to_proto(np.array([[1, 0]], np.float32), MODEL)
    await running.stub.Search(gateway_pb2.SearchRequest(query="red", session_id="s"), timeout=BUDGET_S)
    again = asked_of_retrieval(running)
    assert (again.query_vectors, again.other_query_vectors[0]) == (asked.query_vectors, other)
    moved = vectors_from_proto(again.other_query_vectors[1], "moved")[0].tolist()
    assert moved == pytest.approx([2**-0.5, 2**-0.5])
