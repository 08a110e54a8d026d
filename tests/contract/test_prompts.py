"""Queries and products of a model that wants a prompt before each, over real gRPC."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from services.common.convert import vectors_from_proto
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_handler
from tests.unit.query_encoder.sentence_models import sentence_transformer


async def test_each_has_its_prompt(tmp_path: Path) -> None:
    """The same text has the model's vector of a query, computed or from the cache, or its vector of a product."""
    reference = sentence_transformer(tmp_path, "bert", "cls", {"query": "query: ", "document": "passage: "})
    handler = build_handler(
        QueryEncoderSettings(
            data_dir=tmp_path, model_dir=tmp_path / "model", model_version="prompted@1",
            model_cache_dir=tmp_path / "cache", backend="onnx-fp32",
        )
    )  # fmt: skip
    server = grpc.aio.server()
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    text = "running shoes"
    products = encoder_pb2.EncodeProductsRequest(products=[product_pb2.Product(id="1", title=text)])
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = encoder_pb2_grpc.QueryEncoderServiceStub(channel)
            first, again = [await stub.EncodeQuery(encoder_pb2.EncodeQueryRequest(text=text)) for _ in range(2)]
            imported = await stub.EncodeProducts(products)
    finally:
        await server.stop(None)
        handler.close()
    query, product = reference.encode_query(text), reference.encode_document(text)
    assert np.abs(query - product).max() > 0.01
    for said in (first, again):
        np.testing.assert_allclose(vectors_from_proto(said.vector, "vector")[0], query, atol=1e-4)
    np.testing.assert_allclose(vectors_from_proto(imported.vectors, "vectors")[0], product, atol=1e-4)
