"""Images in QueryEncoderService over real gRPC, by protos/kairos/encoder/v1/encoder.proto. The network is untrained."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import grpc
import numpy as np
import pytest
from PIL import Image

from kairos.common.v1 import common_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2, encoder_pb2_grpc
from services.common.convert import vectors_from_proto
from services.query_encoder.handler import QueryEncoderHandler
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.wiring import build_handler
from tests.contract.refusals import refusal
from tests.unit.query_encoder.image_files import REFUSED, jpeg_of_scans, png

# In quotes: only the stubs' type files know this name.
Stub: TypeAlias = "encoder_pb2_grpc.QueryEncoderServiceAsyncStub"
MAX_BYTES, MAX_PIXELS = 100_000, 40_000


def encoded(colour: str, kind: str = "PNG", size: tuple[int, int] = (90, 120)) -> bytes:
    image = Image.new("RGB", size, colour)
    image.paste("white", (10, 10, 40, 100))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training.pictures.export import export
    from training.pictures.model import new_network, save_network

    folder = tmp_path_factory.mktemp("image_encoder")
    network, preprocessing = new_network(seed=0)
    save_network(folder, network, preprocessing, {})
    export(folder)
    return folder


@pytest.fixture(scope="module")
def handler(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueryEncoderHandler]:
    built = build_handler(
        QueryEncoderSettings(
            data_dir=tmp_path_factory.mktemp("query_encoder"), bulk_threads=1, image_model_dir=model_dir,
            image_model_version="image@1", max_image_bytes=MAX_BYTES, max_image_pixels=MAX_PIXELS,
        )
    )  # fmt: skip
    yield built
    built.close()


@asynccontextmanager
async def served(handler: QueryEncoderHandler) -> AsyncIterator[Stub]:
    server = grpc.aio.server()
    encoder_pb2_grpc.add_QueryEncoderServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield encoder_pb2_grpc.QueryEncoderServiceStub(channel)
    await server.stop(None)


@pytest.fixture
async def stub(handler: QueryEncoderHandler) -> AsyncIterator[Stub]:
    async with served(handler) as client:
        yield client


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_an_image(stub: Stub, kind: str) -> None:
    """An image has one vector of length 1 that names its model; the same image has the same vector."""
    request = encoder_pb2.EncodeImageRequest(image=encoded("red", kind))
    answer = await stub.EncodeImage(request)
    vector = vectors_from_proto(answer.vector, "vector")
    assert answer.vector.model_version == "image@1"
    assert vector.shape == (1, 256)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert answer == await stub.EncodeImage(request)


@pytest.mark.parametrize(
    "image",
    [b"", b"\x89PNG\r\n\x1a\n", encoded("red")[:200], encoded("red", "GIF"), b"x" * (MAX_BYTES + 1),
     encoded("red", size=(300, 300))],
    ids=["empty", "only a beginning", "truncated", "gif", "too many bytes", "too many pixels"],
)  # fmt: skip
async def test_bad_images(stub: Stub, image: bytes) -> None:
    """INVALID_ARGUMENT that names the field."""
    call = stub.EncodeImage(encoder_pb2.EncodeImageRequest(image=image))
    assert await refusal(call) == (grpc.StatusCode.INVALID_ARGUMENT, ["image"])


async def test_spent_budget(stub: Stub) -> None:
    """A request without time left is refused before any work."""
    request = encoder_pb2.EncodeImageRequest(image=encoded("red"))
    request.context.budget.remaining.FromNanoseconds(0)
    assert (await refusal(stub.EncodeImage(request)))[0] is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_products_with_images(stub: Stub) -> None:
    """Each product has a row, which is zero without an image. An unreadable image is reported and does not fail the
    call.
    """
    images = [encoded("red"), b"", b"not an image", encoded("blue")]
    products = [product_pb2.Product(id=str(row), title="mug") for row in range(4)]
    answer = await stub.EncodeProducts(
        encoder_pb2.EncodeProductsRequest(context=common_pb2.RequestContext(), products=products, images=images)
    )
    lengths = np.linalg.norm(vectors_from_proto(answer.image_vectors, "image_vectors"), axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 0, 1], atol=1e-5)
    assert [problem.index for problem in answer.image_problems] == [2]
    assert "not a JPEG" in answer.image_problems[0].reason
    assert answer.vectors.values.shape[0] == 4
    single = await stub.EncodeImage(encoder_pb2.EncodeImageRequest(image=images[3]))
    np.testing.assert_allclose(
        vectors_from_proto(answer.image_vectors, "v")[3], vectors_from_proto(single.vector, "v")[0], atol=1e-4
    )


async def test_products_with_hostile_images(stub: Stub) -> None:
    """Images that would cost much are reported, each with its reason, and the others are encoded."""
    hostile = [REFUSED["png height"][0](), jpeg_of_scans(side=100, count=5_000), png(30_000, 1)]
    images = [encoded("red"), *hostile, encoded("blue")]
    products = [product_pb2.Product(id=str(row), title="mug") for row in range(5)]
    answer = await stub.EncodeProducts(encoder_pb2.EncodeProductsRequest(products=products, images=images))
    assert [problem.index for problem in answer.image_problems] == [1, 2, 3]
    lengths = np.linalg.norm(vectors_from_proto(answer.image_vectors, "image_vectors"), axis=1)
    np.testing.assert_allclose(lengths, [1, 0, 0, 0, 1], atol=1e-5)


async def test_products_without_images(stub: Stub) -> None:
    """Without images there are no image vectors; a number of images other than that of the products is refused."""
    request = encoder_pb2.EncodeProductsRequest(products=[product_pb2.Product(id="a", title="mug")])
    assert not (await stub.EncodeProducts(request)).HasField("image_vectors")
    request.images.extend([b"", b""])
    assert await refusal(stub.EncodeProducts(request)) == (grpc.StatusCode.INVALID_ARGUMENT, ["images"])


async def test_without_an_image_encoder(tmp_path: Path) -> None:
    """Without an image encoder an image is FAILED_PRECONDITION that names the setting; products without images are
    encoded.
    """
    without = build_handler(QueryEncoderSettings(data_dir=tmp_path, bulk_threads=1))
    async with served(without) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.EncodeImage(encoder_pb2.EncodeImageRequest(image=encoded("red")))
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "KAIROS_QUERY_ENCODER_IMAGE_MODEL_DIR" in (caught.value.details() or "")
        request = encoder_pb2.EncodeProductsRequest(products=[product_pb2.Product(id="a", title="mug")], images=[b""])
        assert not (await stub.EncodeProducts(request)).HasField("image_vectors")
        request.images[0] = encoded("red")
        assert (await refusal(stub.EncodeProducts(request)))[0] is grpc.StatusCode.FAILED_PRECONDITION
    without.close()
