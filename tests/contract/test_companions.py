"""ListCompanions of QueryEncoderService over real gRPC, with an encoder that knows every text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeAlias

import grpc
import pytest

from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from services.common.convert import vectors_from_proto
from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.adapters.sqlite_lexicon import SqliteLexiconStore
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import assemble
from tests.contract.refusals import refusal
from tests.contract.test_query_encoder import ReadsChinese

Stub: TypeAlias = "encoder_pb2_grpc.QueryEncoderServiceAsyncStub"


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Stub]:
    settings = QueryEncoderSettings(data_dir=tmp_path)
    handler = assemble(settings, [ReadsChinese()], SqliteLexiconStore(tmp_path), embedded_domain())
    server = grpc.aio.server()
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield encoder_pb2_grpc.QueryEncoderServiceStub(channel)
    await server.stop(None)
    handler.close()


async def test_companions_with_vectors(stub: Stub) -> None:
    """Each companion has its labels and a row of the vectors; a limit cuts the rest."""
    answer = await stub.ListCompanions(encoder_pb2.ListCompanionsRequest(texts=["Two-person tunnel tent"]))
    assert [each.concept_id for each in answer.companions] == ["sleeping bag", "camping lantern"]
    assert answer.companions[0].labels[0] == "sleeping bag"
    assert vectors_from_proto(answer.vectors, "vectors").shape == (2, 2)
    first = await stub.ListCompanions(encoder_pb2.ListCompanionsRequest(texts=["Two-person tunnel tent"], limit=1))
    assert len(first.companions) == 1


async def test_nothing_goes_with_an_unknown_thing(stub: Stub) -> None:
    """A title without a known product has no companions and no vectors."""
    answer = await stub.ListCompanions(encoder_pb2.ListCompanionsRequest(texts=["Qwertz 9000", ""]))
    assert not answer.companions
    assert not answer.HasField("vectors")


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (encoder_pb2.ListCompanionsRequest(), "texts"),
        (encoder_pb2.ListCompanionsRequest(texts=["x"] * 21), "texts"),
        (encoder_pb2.ListCompanionsRequest(texts=["x", "x" * 513]), "texts[1]"),
        (encoder_pb2.ListCompanionsRequest(texts=["x"], limit=21), "limit"),
        (encoder_pb2.ListCompanionsRequest(texts=["x"], limit=-1), "limit"),
    ],
)
async def test_bounds(stub: Stub, message: encoder_pb2.ListCompanionsRequest, field: str) -> None:
    """A request beyond its bounds is refused with the path of the field."""
    assert await refusal(stub.ListCompanions(message)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
