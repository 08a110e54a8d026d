"""Pictures through the gateway over real gRPC: search by picture, similar products, imports, and every fallback."""

from __future__ import annotations

import grpc
import pytest

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto
from tests.contract.gateways import BUDGET_S, HOWS, Running, ids, running, stages
from tests.contract.refusals import reason_of, refusal
from tests.fakes.stages import IMAGE_MODEL, NO_PICTURE

__all__ = ["running", "stages"]  # fixtures

PICTURE = b"\xff\xd8\xff a picture"


def search(query: str = "", **fields: object) -> gateway_pb2.SearchRequest:
    return gateway_pb2.SearchRequest(query=query, page_size=5, **fields)  # type: ignore[arg-type]


def asked_of_retrieval(running: Running) -> retrieval_pb2.RetrieveCandidatesRequest:
    asked = [r for r in running.stages.retrieval.requests if isinstance(r, retrieval_pb2.RetrieveCandidatesRequest)]
    # The gateway also refreshes its popular items.
    return [request for request in asked if request.context.request_id != "popular"][-1]


async def test_a_picture_alone(running: Running) -> None:
    """Only the picture's vector is looked up; the answer is ranked, and explained with the picture's scores."""
    answer = await running.stub.Search(search(image=PICTURE, explain=True), timeout=BUDGET_S)
    asked = asked_of_retrieval(running)
    assert (asked.image_vector.model_version, asked.text, asked.HasField("query_vectors")) == (IMAGE_MODEL, "", False)
    assert ids(answer) == ["p25", "p24", "p23", "p22", "p21"]
    assert answer.results[0].stage_scores.image == 0.25
    assert not answer.degradations


async def test_a_picture_and_words(running: Running) -> None:
    """Both go to retrieval together."""
    await running.stub.Search(search("red", image=PICTURE), timeout=BUDGET_S)
    asked = asked_of_retrieval(running)
    assert (asked.text, asked.HasField("query_vectors"), asked.HasField("image_vector")) == ("red", True, True)


async def test_words_alone_ask_for_no_picture(running: Running) -> None:
    """Without a picture nothing is encoded as one."""
    await running.stub.Search(search("red"), timeout=BUDGET_S)
    assert not any(isinstance(r, encoder_pb2.EncodeImageRequest) for r in running.stages.encoder.requests)
    assert not asked_of_retrieval(running).HasField("image_vector")


async def test_what_is_no_picture(running: Running) -> None:
    """The encoder's refusal reaches the caller with the name of the field."""
    call = running.stub.Search(search(image=NO_PICTURE), timeout=BUDGET_S)
    assert await refusal(call) == (grpc.StatusCode.INVALID_ARGUMENT, ["image"])


async def test_without_a_picture_model(running: Running) -> None:
    """FAILED_PRECONDITION, in words for the caller, however often; and text is still understood afterwards."""
    running.stages.encoder.has_image_encoder = False
    for _ in range(10):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stub.Search(search(image=PICTURE), timeout=10)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert reason_of(caught.value) == "NO_IMAGE_ENCODER"
        assert "KAIROS" not in (caught.value.details() or "")
    assert not (await running.stub.Search(search("red"), timeout=10)).degradations


@pytest.mark.parametrize("how", HOWS)
async def test_without_encoder_a_picture_alone(running: Running, how: str) -> None:
    """Encoder late, down or failing: the popular items, inside the budget."""
    await running.parts.popular_items.refresh("default")
    await running.stages.worsen("query_encoder", how)
    answer = await running.within_budget(search(image=PICTURE))
    assert [(d.stage, d.fallback) for d in answer.degradations] == [(1, "popular items")]
    assert ids(answer)[:2] == ["p7", "p3"]


@pytest.mark.parametrize("how", HOWS)
async def test_without_encoder_a_picture_and_words(running: Running, how: str) -> None:
    """Encoder late, down or failing: the words as typed."""
    await running.stages.worsen("query_encoder", how)
    answer = await running.within_budget(search("red", image=PICTURE))
    assert {(d.stage, d.fallback) for d in answer.degradations} == {
        (1, "lexical retrieval"),
        (1, "retrieval without the picture"),
    }
    assert asked_of_retrieval(running).text == "red"


async def test_looks_like_this(running: Running) -> None:
    """The id goes to retrieval; an unknown one is NOT_FOUND, which does not count against retrieval."""
    assert len(ids(await running.stub.Search(search(similar_to_id="p3"), timeout=BUDGET_S))) == 5
    assert asked_of_retrieval(running).similar_to_id == "p3"
    for _ in range(10):
        code, _fields = await refusal(running.stub.Search(search(similar_to_id="unknown"), timeout=BUDGET_S))
        assert code is grpc.StatusCode.NOT_FOUND
    assert not (await running.stub.Search(search(similar_to_id="p3"), timeout=BUDGET_S)).degradations


async def test_the_next_page_of_a_picture(running: Running) -> None:
    """With the same picture the next page continues the ranking; with another one the token is refused."""
    first = await running.stub.Search(search(image=PICTURE), timeout=BUDGET_S)
    token = first.next_page_token
    second = await running.stub.Search(search(image=PICTURE, page_token=token), timeout=BUDGET_S)
    assert ids(second) == ["p20", "p19", "p18", "p17", "p16"]
    call = running.stub.Search(search(image=PICTURE + b"!", page_token=token), timeout=BUDGET_S)
    assert await refusal(call) == (grpc.StatusCode.INVALID_ARGUMENT, ["page_token"])


@pytest.mark.parametrize(
    "request_", [search(image=PICTURE, similar_to_id="p3"), search(similar_to_id="x" * 129)], ids=["both", "long"]
)
async def test_bad_input(running: Running, request_: gateway_pb2.SearchRequest) -> None:
    """A picture together with a product, and an overlong id, are refused by name."""
    code, fields = await refusal(running.stub.Search(request_, timeout=BUDGET_S))
    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["similar_to_id"])


def shelf(*images: bytes) -> gateway_pb2.ImportProductsRequest:
    products = [product_pb2.Product(id=f"new-{row}", title="Mug") for row in range(len(images))]
    return gateway_pb2.ImportProductsRequest(products=products, images=images)


async def test_import_with_pictures(running: Running) -> None:
    """Products are stored with their pictures; a product with an unreadable picture is rejected."""
    answer = await running.stub.ImportProducts(iter([shelf(b"one", NO_PICTURE, b"", b"four")]))
    assert (answer.imported_count, answer.rejected_count) == (3, 1)
    assert [(r.index, r.id, r.field) for r in answer.rejected] == [(1, "new-1", "image")]
    upsert = running.stages.retrieval.requests[-1]
    assert [entry.id for entry in upsert.products] == ["new-0", "new-2", "new-3"]
    assert vectors_from_proto(upsert.image_vectors, "v")[:, 0].tolist() == [3, 0, 4]
    assert upsert.vectors.values.shape[0] == 3


async def test_import_again(running: Running) -> None:
    """The same picture again is skipped; another one is stored."""
    await running.stub.ImportProducts(iter([shelf(b"one", b"two")]))
    again = await running.stub.ImportProducts(iter([shelf(b"one", b"other")]))
    assert (again.unchanged_count, again.imported_count) == (1, 1)


async def test_import_of_large_pictures(running: Running) -> None:
    """Large pictures are sent in several batches; a picture beyond the bound is rejected alone."""
    messages = [shelf(b"a" * (3 << 20), b"b" * (3 << 20), b"c" * (3 << 20)), shelf(b"", b"d" * ((8 << 20) + 1))]
    messages[1].products[0].id = "last"
    messages[1].products[1].id = "beyond"
    answer = await running.stub.ImportProducts(iter(messages))
    assert (answer.imported_count, [r.id for r in answer.rejected]) == (4, ["beyond"])
    encodes = [r for r in running.stages.encoder.requests if isinstance(r, encoder_pb2.EncodeProductsRequest)]
    assert [len(request.products) for request in encodes] == [2, 2]


async def test_import_with_pictures_but_no_model(running: Running) -> None:
    """FAILED_PRECONDITION; without pictures the import works."""
    running.stages.encoder.has_image_encoder = False
    code, _ = await refusal(running.stub.ImportProducts(iter([shelf(b"one")])))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert (await running.stub.ImportProducts(iter([shelf(b"", b"")]))).imported_count == 2


async def test_import_with_a_column_of_another_length(running: Running) -> None:
    """A message has as many pictures as products, or none."""
    message = shelf(b"one", b"two")
    del message.images[1:]
    assert await refusal(running.stub.ImportProducts(iter([message]))) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        ["images"],
    )
