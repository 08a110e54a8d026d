"""Item vectors of shopper models: begun, filled, searched, dropped. One suite for both engines, over real gRPC."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike
from qdrant_client import QdrantClient

from kairos.common.v1 import common_pb2, offer_pb2, product_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.arrays import unit_rows
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.common.filters import ProductFilter
from services.common.product import Product
from services.retrieval.adapters.edge import EdgeCollection
from services.retrieval.adapters.edge_collections import EdgeCollections
from services.retrieval.adapters.server import ServerCollections
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.handler import RetrievalHandler
from services.retrieval.ports import Vectors
from services.retrieval.search import Retriever
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import retriever_over
from tests.integration.retrieval_engines import collections_of, indexed
from tests.integration.test_reembedding_congruence import (
    Local,
    acknowledged_until_killed,
    begin,
    missing,
    refused,
    store,
    switch,
)
from tests.integration.test_retrieval_congruence import (
    MODEL,
    SHOP,
    VECTORS,
    handler_of,
    product,
    serving,
    stub,
    upsert,
    upsert_with_pictures,
)

if TYPE_CHECKING:
    from tests.integration.test_retrieval_congruence import Stub

__all__ = ["stub"]  # the fixture

SHOPPER = "shopper@1"
# Of SHOP: not of length 1, so that a cosine would give another order.
ITEMS = {"shoe": [1.0, 0.0], "boot": [3.0, 1.0], "cable": [0.0, 2.0], "phones": [-1.0, 1.0], "chinese": [0.5, 0.5]}
# Of text vectors with 3 numbers, and the constant.
MAP = [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.25, 0.5]]


def rows(values: ArrayLike, version: str = SHOPPER) -> common_pb2.Vectors:
    return vectors_to_proto(np.asarray(values, np.float32), version)


def of_map(values: ArrayLike = MAP, version: str = MODEL) -> common_pb2.Vectors:
    return rows(values, version)


async def begin_items(
    stub: Stub, version: str = SHOPPER, dimensions: int = 2, map: common_pb2.Vectors | None = None
) -> None:
    await stub.BeginItemVectors(
        retrieval_pb2.BeginItemVectorsRequest(model_version=version, dimensions=dimensions, map=map)
    )


async def store_items(stub: Stub, items: dict[str, list[float]], version: str = SHOPPER, done: bool = False) -> int:
    vectors = rows(list(items.values()), version) if items else None
    request = retrieval_pb2.StoreItemVectorsRequest(
        ids=list(items), vectors=vectors, model_version=version, is_complete=done
    )
    return (await stub.StoreItemVectors(request)).stored_count


async def drop_items(stub: Stub, version: str = SHOPPER) -> None:
    await stub.DropItemVectors(retrieval_pb2.DropItemVectorsRequest(model_version=version))


async def versions(stub: Stub) -> list[tuple[str, int, int, bool]]:
    answer = await stub.DescribeItemVectors(retrieval_pb2.DescribeItemVectorsRequest())
    return [
        (found.model_version, found.dimensions, found.product_count, found.is_complete) for found in answer.versions
    ]


def near(vector: list[float], version: str = SHOPPER, **fields: object) -> retrieval_pb2.RetrieveCandidatesRequest:
    return retrieval_pb2.RetrieveCandidatesRequest(shopper_vector=rows([vector], version), **fields)  # type: ignore[arg-type]


def like(*ids: str, version: str = SHOPPER, **fields: object) -> retrieval_pb2.RetrieveCandidatesRequest:
    return retrieval_pb2.RetrieveCandidatesRequest(shopper_like_ids=ids, shopper_version=version, **fields)  # type: ignore[arg-type]


async def scored(stub: Stub, request: retrieval_pb2.RetrieveCandidatesRequest) -> list[tuple[str, float]]:
    answer = await stub.RetrieveCandidates(request)
    assert not answer.degradations
    return [(id, round(score, 3)) for id, score in zip(answer.candidates.ids, answer.candidates.scores, strict=True)]


async def skipped(stub: Stub, request: retrieval_pb2.RetrieveCandidatesRequest) -> str:
    """The detail of the degradation of an answer without candidates."""
    answer = await stub.RetrieveCandidates(request)
    (degradation,) = answer.degradations
    assert (degradation.reason, degradation.fallback) == (
        common_pb2.DEGRADATION_REASON_MODEL_VERSION_MISMATCH,
        "no candidates",
    )
    assert (list(answer.candidates.ids), answer.total_size) == ([], 0)
    return degradation.detail


async def rejected(stub: Stub, method: str, request: object) -> str:
    """The message of an INVALID_ARGUMENT."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(stub, method)(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return caught.value.details() or ""


async def fill(stub: Stub, version: str = SHOPPER, map: common_pb2.Vectors | None = None) -> None:
    await begin_items(stub, version, map=map)
    assert await store_items(stub, ITEMS, version, done=True) == len(ITEMS)


async def test_candidates_by_dot_product(stub: Stub) -> None:
    """The order and the scores are those of the dot product, also of vectors that are not of length 1."""
    await fill(stub)
    found = await scored(stub, near([1, 0.5]))
    assert dict(found) == {"boot": 3.5, "cable": 1.0, "shoe": 1.0, "chinese": 0.75, "phones": -0.5}
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


async def test_the_leg_narrows_as_the_others(stub: Stub) -> None:
    """Filters, excluded ids, the limit and the columns apply to it."""
    await fill(stub)
    shoes = product_pb2.ProductFilter(categories=["Shoes"])
    assert [id for id, _ in await scored(stub, near([0, 1], filter=shoes))] == ["boot", "chinese", "shoe"]
    assert [id for id, _ in await scored(stub, near([0, 1], excluded_ids=["cable"], limit=1))] in (["boot"], ["phones"])
    answer = await stub.RetrieveCandidates(near([1, 0], with_vectors=True, facets=["brand"]))
    found = unit_rows(vectors_from_proto(answer.candidates.vectors, "vectors"))
    np.testing.assert_allclose(found[list(answer.candidates.ids).index("shoe")], VECTORS[0], atol=1e-2)
    assert answer.total_size == len(SHOP)
    assert {count.value for count in answer.facets[0].counts} >= {"Klarvox"}


async def test_items_like_others(stub: Stub) -> None:
    """The mean of their item vectors is searched; they are not returned, and unknown ones are ignored."""
    await fill(stub)
    assert await scored(stub, like("shoe", "cable", "nothing")) == [
        ("boot", 2.5), ("chinese", 0.75), ("phones", 0.5),
    ]  # fmt: skip
    assert await scored(stub, like("nothing")) == []


async def test_a_version_that_is_not_complete_is_not_searched(stub: Stub) -> None:
    """The leg is skipped and reported for an unknown version, and for one that is still being filled."""
    assert SHOPPER in await skipped(stub, near([1, 0]))
    await begin_items(stub)
    await store_items(stub, ITEMS)
    assert SHOPPER in await skipped(stub, near([1, 0]))
    assert SHOPPER in await skipped(stub, like("shoe"))
    assert await versions(stub) == [(SHOPPER, 2, 5, False)]
    await store_items(stub, {}, done=True)
    assert (await scored(stub, near([1, 0])))[0] == ("boot", 3.0)
    assert await versions(stub) == [(SHOPPER, 2, 5, True)]
    await drop_items(stub)
    assert SHOPPER in await skipped(stub, near([1, 0]))


async def test_versions_side_by_side(stub: Stub) -> None:
    """A new version is written beside the live one, of another length; each search uses the one that it names."""
    await fill(stub)
    await begin_items(stub, "shopper@2", 3)
    await store_items(stub, {id: [-x, -y, 1.0] for id, (x, y) in ITEMS.items()}, "shopper@2")
    assert (await scored(stub, near([1, 0])))[0] == ("boot", 3.0)
    await store_items(stub, {}, "shopper@2", done=True)
    assert (await scored(stub, near([1, 0, 0], "shopper@2")))[0] == ("phones", 1.0)
    assert (await scored(stub, near([1, 0])))[0] == ("boot", 3.0)
    await drop_items(stub)
    assert (await scored(stub, near([1, 0, 0], "shopper@2")))[0] == ("phones", 1.0)


async def test_at_most_three_versions(stub: Stub) -> None:
    """A fourth is refused until one is dropped, whose name may come again with other vectors."""
    for version in ("a", "b", "c"):
        await fill(stub, version)
    assert "'a', 'b', 'c'; drop one first" in await refused(begin_items(stub, "d"))
    await begin_items(stub, "b")
    await drop_items(stub, "b")
    await drop_items(stub, "b")
    await begin_items(stub, "b", 3)
    assert await versions(stub) == [("a", 2, 5, True), ("c", 2, 5, True), ("b", 3, 0, False)]
    await store_items(stub, {"shoe": [1.0, 2.0, 3.0]}, "b", done=True)
    assert await scored(stub, near([0, 0, 1], "b")) == [("shoe", 3.0)]


async def test_products_of_later_imports(stub: Stub) -> None:
    """A new product gets the vector of the map; one whose content changes keeps its own."""
    await fill(stub, map=of_map())
    new = product("new", "Trail shoes", "Solmara", "Shoes", 80)
    both = retrieval_pb2.UpsertProductsRequest(
        products=[new, SHOP[1]], vectors=vectors_to_proto(np.array([[2, 0, 0], [0, 0, 1]], np.float32), MODEL)
    )
    await stub.UpsertProducts(both)
    found = dict(await scored(stub, near([1, 0])))
    # The map reads unit vectors.
    assert (found["new"], found["boot"]) == (1.25, 3.0)
    assert dict(await scored(stub, near([0, 1])))["new"] == 0.5
    # Without a text vector there is the constant alone.
    bare = retrieval_pb2.UpsertProductsRequest(products=[product("bare", "Bare", "Solmara", "Shoes", 80)])
    await stub.UpsertProducts(bare)
    assert dict(await scored(stub, near([1, 0])))["bare"] == 0.25
    assert await versions(stub) == [(SHOPPER, 2, 7, True)]


async def test_products_of_later_imports_without_a_map(stub: Stub) -> None:
    """They have no item vector."""
    await fill(stub)
    await stub.UpsertProducts(
        retrieval_pb2.UpsertProductsRequest(products=[product("new", "Trail shoes", "Solmara", "Shoes", 80)])
    )
    assert "new" not in dict(await scored(stub, near([1, 0])))
    assert await versions(stub) == [(SHOPPER, 2, 5, True)]


async def test_a_map_of_pictures(stub: Stub) -> None:
    """It reads text vector, image vector and the constant; a product without a picture counts as zeros."""
    await stub.UpsertProducts(upsert_with_pictures())
    await begin_items(stub, map=of_map(np.array([[0, 0], [0, 0], [0, 0], [1, 0], [0, 1], [0, 0.5]])))
    await store_items(stub, {}, done=True)
    listed = await stub.ListProducts(retrieval_pb2.ListProductsRequest(with_vectors=True))
    pictures = dict(zip(listed.ids, vectors_from_proto(listed.image_vectors, "image_vectors"), strict=True))
    found = dict(await scored(stub, near([1, 0])))
    assert found == pytest.approx({id: float(picture[0]) for id, picture in pictures.items()}, abs=1e-2)
    assert any(found.values())


async def test_completion_fills_by_the_map(stub: Stub) -> None:
    """Products that were given no vector get that of the map."""
    await begin_items(stub, map=of_map())
    await store_items(stub, {"boot": ITEMS["boot"]}, done=True)
    found = dict(await scored(stub, near([1, 0])))
    assert found == pytest.approx({"shoe": 1.25, "boot": 3, "cable": 0.25, "phones": 0.25, "chinese": 0.25}, abs=1e-3)
    assert await versions(stub) == [(SHOPPER, 2, 5, True)]


async def test_repeated_calls(stub: Stub) -> None:
    """Each may be sent again; unknown products are skipped; a later vector replaces an earlier one."""
    await fill(stub, map=of_map())
    await fill(stub, map=of_map())
    assert await store_items(stub, {"shoe": [5.0, 0.0], "nothing": [9.0, 9.0]}) == 1
    assert (await scored(stub, near([1, 0])))[0] == ("shoe", 5.0)
    assert await store_items(stub, {}) == 0


async def test_refusals_by_the_state(stub: Stub) -> None:
    """FAILED_PRECONDITION names the field and the remedy."""
    assert "begin them first" in await refused(store_items(stub, ITEMS))
    assert "map.model_version" in await refused(begin_items(stub, map=of_map(version="m@9")))
    assert "map.values.shape: has 2 rows" in await refused(begin_items(stub, map=of_map(MAP[:2])))
    assert "map.values.shape: has 2 columns; send 5" in await refused(begin_items(stub, dimensions=5, map=of_map()))
    await begin_items(stub)
    assert "drop the version first" in await refused(begin_items(stub, dimensions=3))
    assert "vectors.values.shape" in await refused(store_items(stub, {"shoe": [1.0, 2.0, 3.0]}))


async def test_an_empty_catalogue(stub: Stub) -> None:
    """There is nothing to begin."""
    await stub.RemoveProducts(retrieval_pb2.RemoveProductsRequest(ids=[entry.id for entry in SHOP]))
    assert "import products first" in await refused(begin_items(stub))
    assert await versions(stub) == []


async def test_bad_requests(stub: Stub) -> None:
    """INVALID_ARGUMENT names the field."""
    await fill(stub)
    begin_request, store_request = retrieval_pb2.BeginItemVectorsRequest, retrieval_pb2.StoreItemVectorsRequest
    for request, field in (
        (begin_request(dimensions=2), "model_version"),
        (begin_request(model_version="x" * 257, dimensions=2), "model_version"),
        (begin_request(model_version="x"), "dimensions"),
        (begin_request(model_version="x", dimensions=1_025), "dimensions"),
        (begin_request(model_version="x", dimensions=1, map=common_pb2.Vectors()), "map"),
    ):
        assert field in await rejected(stub, "BeginItemVectors", request)
    for kind, field in (
        (store_request(), "model_version"),
        (store_request(model_version="x", ids=["a"]), "vectors"),
        (store_request(model_version=SHOPPER, ids=["a", "b"], vectors=rows([[1, 2]])), "vectors.values.shape"),
        (store_request(model_version=SHOPPER, ids=["a", "a"], vectors=rows([[1, 2], [1, 2]])), "ids"),
        (store_request(model_version=SHOPPER, ids=[""], vectors=rows([[1, 2]])), "ids[0]"),
        (store_request(model_version=SHOPPER, vectors=rows([[1, 2]])), "ids"),
        (store_request(model_version=SHOPPER, ids=["a"], vectors=rows([[1, 2]], "y")), "vectors.model_version"),
        (store_request(model_version=SHOPPER, ids=["a"], vectors=rows([[1e5, 2]])), "vectors"),
        (store_request(model_version=SHOPPER, ids=[str(n) for n in range(513)]), "ids"),
    ):
        assert field in await rejected(stub, "StoreItemVectors", kind)
    assert "model_version" in await rejected(stub, "DropItemVectors", retrieval_pb2.DropItemVectorsRequest())
    mixed = near([1, 0], text="shoes")
    pair = near([1, 0])
    pair.shopper_like_ids.append("shoe")
    two = retrieval_pb2.RetrieveCandidatesRequest(shopper_vector=rows([[1, 0], [0, 1]]))
    for search, field in (
        (mixed, "shopper_vector"),
        (near([1, 0], similar_to_id="shoe"), "shopper_vector"),
        (near([1, 0], ""), "shopper_vector.model_version"),
        (pair, "shopper_like_ids"),
        (two, "shopper_vector.values.shape"),
        (near([1, 0, 0]), "shopper_vector.values.shape"),
        (like("shoe", version=""), "shopper_version"),
        (like(*(str(n) for n in range(17))), "shopper_like_ids"),
        (like(""), "shopper_like_ids[0]"),
    ):
        assert field in await rejected(stub, "RetrieveCandidates", search)


async def test_answers_are_not_kept_beyond_a_change(stub: Stub) -> None:
    """A repeated search sees new vectors at once, and the end of its version."""
    await fill(stub)
    for _ in range(3):
        assert (await scored(stub, near([1, 0])))[0] == ("boot", 3.0)
    await store_items(stub, {"shoe": [5.0, 0.0]})
    assert (await scored(stub, near([1, 0])))[0] == ("shoe", 5.0)
    await drop_items(stub)
    await skipped(stub, near([1, 0]))


async def test_offers_and_removals(stub: Stub) -> None:
    """A change of an offer keeps item vectors; a removed product is gone."""
    await fill(stub)
    offer = offer_pb2.Offer(product_id="boot", price=common_pb2.Money(currency_code="USD", units=1))
    offer.updated_at.seconds = 1
    await stub.UpdateOffers(retrieval_pb2.UpdateOffersRequest(offers=[offer]))
    assert (await scored(stub, near([1, 0])))[0] == ("boot", 3.0)
    await stub.RemoveProducts(retrieval_pb2.RemoveProductsRequest(ids=["boot"]))
    assert "boot" not in dict(await scored(stub, near([1, 0])))


async def test_a_switch_of_text_models(stub: Stub) -> None:
    """Item vectors belong to their collection: the new one has none, and a switch back finds them again."""
    await fill(stub, map=of_map())
    await begin(stub)
    await store(stub, await missing(stub))
    await switch(stub)
    assert await versions(stub) == []
    await skipped(stub, near([1, 0]))
    both = retrieval_pb2.UpsertProductsRequest(
        products=[product("new", "Trail shoes", "Solmara", "Shoes", 80)],
        vectors=vectors_to_proto(np.array([[1, 0]], np.float32), "m@2"),
        other_vectors=[vectors_to_proto(np.array([[1, 0, 0]], np.float32), MODEL)],
    )
    await stub.UpsertProducts(both)
    await switch(stub, MODEL)
    found = dict(await scored(stub, near([1, 0])))
    assert (found["boot"], found["new"]) == (3.0, 1.25)


async def test_listed_vectors(stub: Stub) -> None:
    """ListProducts returns text vectors of length 1 as float16 if they are asked for."""
    answer = await stub.ListProducts(retrieval_pb2.ListProductsRequest(with_vectors=True, with_products=True))
    assert answer.vectors.model_version == MODEL
    assert answer.vectors.values.dtype == common_pb2.DATA_TYPE_FLOAT16
    assert not answer.HasField("image_vectors")
    found = dict(zip(answer.ids, vectors_from_proto(answer.vectors, "vectors"), strict=True))
    for entry, vector in zip(SHOP, VECTORS, strict=True):
        np.testing.assert_allclose(found[entry.id], vector, atol=1e-3)
    assert not (await stub.ListProducts(retrieval_pb2.ListProductsRequest())).HasField("vectors")


async def test_a_restart(tmp_path: Path) -> None:
    """Edge: versions, their maps and the vectors are there after a start."""
    async with serving(handler_of("edge", tmp_path)) as stub:
        await fill(stub, map=of_map())
    async with serving(handler_of("edge", tmp_path)) as stub:
        assert await versions(stub) == [(SHOPPER, 2, 5, True)]
        await stub.UpsertProducts(upsert(SHOP[0]))
        new = retrieval_pb2.UpsertProductsRequest(
            products=[product("new", "Trail shoes", "Solmara", "Shoes", 80)], vectors=rows([[1, 0, 0]], MODEL)
        )
        await stub.UpsertProducts(new)
        found = dict(await scored(stub, near([1, 0])))
        assert (found["shoe"], found["new"]) == (1.0, 1.25)
        await drop_items(stub)
    assert not list(tmp_path.rglob("item-map-*"))  # noqa: ASYNC240 - of a test


async def test_optimising_while_they_are_written(tmp_path: Path) -> None:
    """Edge: what is written while a copy is optimised is in the copy, and the end of a version too."""
    of_shop = RetrievalSettings(data_dir=tmp_path)
    collections = EdgeCollections(tmp_path, of_shop.edge)
    handler = RetrievalHandler(retriever_over(collections, of_shop), of_shop.workers, of_shop.answer_cache_mb)
    async with serving(handler) as stub:
        await fill(stub, "old")
        live = collections.pair("default").live
        assert isinstance(live, EdgeCollection)
        loop = asyncio.get_running_loop()

        async def write() -> None:
            await fill(stub, map=of_map())
            await drop_items(stub, "old")

        def optimise_and_meanwhile(path: Path) -> bool:
            done = collections._run_optimizer(path)
            asyncio.run_coroutine_threadsafe(write(), loop).result()
            return done

        assert await asyncio.to_thread(live.optimize, optimise_and_meanwhile)
        assert (await scored(stub, near([1, 0])))[0] == ("boot", 3.0)
        assert await versions(stub) == [(SHOPPER, 2, 5, True)]
        await fill(stub, "old")
    async with serving(handler_of("edge", tmp_path)) as stub:
        assert (await scored(stub, near([0, 1], "old")))[0] == ("cable", 2.0)
        assert (await scored(stub, near([1, 0])))[0] == ("boot", 3.0)


async def test_another_replica_sees_them() -> None:
    """Server: a replica that knew the collection before searches a new version within a second, and its end."""
    of_shop, client = RetrievalSettings(), QdrantClient(":memory:")
    first, second = (
        RetrievalHandler(retriever_over(ServerCollections(client, "test-"), of_shop), 1, answer_cache_mb=1)
        for _ in range(2)
    )
    other: Stub = Local(second)  # type: ignore[assignment]
    async with serving(first) as stub:
        await skipped(other, near([1, 0]))
        await fill(stub, map=of_map())

        async def reasons() -> list[str]:
            return [found.detail for found in (await other.RetrieveCandidates(near([1, 0]))).degradations]

        await _until(reasons, [])
        assert (await scored(other, near([1, 0])))[0] == ("boot", 3.0)
        new = retrieval_pb2.UpsertProductsRequest(
            products=[product("new", "Trail shoes", "Solmara", "Shoes", 80)], vectors=rows([[1, 0, 0]], MODEL)
        )
        await other.UpsertProducts(new)
        assert dict(await scored(other, near([1, 0])))["new"] == 1.25
        await drop_items(stub)
        await _until(lambda: described(other), [])
    # Its thread would ask the closed client for as long as other tests run.
    second.close()


async def described(stub: Stub) -> list[object]:
    return list(await versions(stub))


async def _until(read: Callable[[], Awaitable[list[Any]]], wanted: list[Any]) -> None:
    deadline = time.monotonic() + 5
    while await read() != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def work_until_killed(folder: Path) -> None:
    """In a loop: a version is begun, written, complete, and the one before it dropped. Its number is printed then."""
    local: Stub = Local(handler_of("edge", folder))  # type: ignore[assignment]
    for number in itertools.count(int(max([found[0] for found in await versions(local)], default="0")) + 1):
        version = f"{number:06}"
        await begin_items(local, version, map=of_map())
        await store_items(local, {"shoe": [float(number), 0.0]}, version)
        await store_items(local, {"boot": [0.0, float(number)]}, version, done=True)
        print(number, flush=True)
        for found in await versions(local):
            if found[0] < version:
                await drop_items(local, found[0])


_WORK = "import asyncio; from pathlib import Path; from tests.integration import test_item_vectors_congruence as t; "


@pytest.mark.parametrize(("writes", "seconds"), [(1, 0.0), (2, 0.013), (3, 0.03), (6, 0.05)])
async def test_kill_9_at_any_step(tmp_path: Path, writes: int, seconds: float) -> None:
    """Edge: after kill -9 every acknowledged version is whole, and the work goes on."""
    async with serving(handler_of("edge", tmp_path)):
        pass
    command = [sys.executable, "-c", f"{_WORK} asyncio.run(t.work_until_killed(Path({str(tmp_path)!r})))"]
    acknowledged = (await asyncio.to_thread(acknowledged_until_killed, command, writes, seconds))[-1]
    handler = handler_of("edge", tmp_path)
    local: Stub = Local(handler)  # type: ignore[assignment]
    present = await versions(local)
    for version, dimensions, count, is_complete in present:
        number = int(version)
        assert (dimensions, number >= acknowledged or is_complete) == (2, True)
        if is_complete:
            assert count == len(SHOP)
            assert (await scored(local, near([1, 0], version)))[0] == ("shoe", number)
    # The last acknowledged one is there, unless a later one is complete.
    assert max(int(found[0]) for found in present if found[3]) >= acknowledged
    for version, *_ in present:
        await drop_items(local, version)
    await fill(local, "after", map=of_map())
    assert (await scored(local, near([1, 0], "after")))[0] == ("boot", 3.0)
    handler.close()


MANY, LENGTH = 120, 6
# Halves: the engine stores float16, and their products are exact.
numbers = st.integers(-8, 8).map(lambda number: number / 2)


@pytest.fixture(scope="module", params=["edge", "memory"])
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    """Products of four brands, without item vectors."""
    folder = tmp_path_factory.mktemp("many")
    retriever = retriever_over(collections_of(request.param, folder), RetrievalSettings(data_dir=folder))
    products = [Product(id=f"p{n}", title=f"lamp {n}", brand=f"b{n % 4}") for n in range(MANY)]
    retriever.index.upsert("default", indexed(products), None)
    yield retriever
    retriever.index.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_leg_is_the_brute_force_order(many: Retriever, data: st.DataObject) -> None:
    """The best `limit` by dot product among those that have a vector, match the filter and are not excluded."""
    table = data.draw(arrays(np.float32, (MANY, LENGTH), elements=numbers), "item vectors")
    person = data.draw(arrays(np.float32, (1, LENGTH), elements=numbers), "person")
    chosen = sorted(data.draw(st.sets(st.integers(0, MANY - 1), min_size=1), "products with a vector"))
    brands = data.draw(st.sets(st.sampled_from(["b0", "b1", "b2"])), "brands")
    excluded = data.draw(st.sets(st.integers(0, MANY - 1), max_size=20), "excluded")
    limit = data.draw(st.integers(1, MANY), "limit")
    items = many.index.item_vectors
    items.drop("default", "v")
    items.begin("default", "v", LENGTH, None)
    ids = [f"p{n}" for n in chosen]
    items.store("default", "v", ids, Vectors(table[chosen], "v"), is_complete=True)
    query = RetrievalQuery(
        shopper=person, shopper_version="v", limit=limit, filter=ProductFilter(brands=tuple(sorted(brands))),
        excluded_ids=tuple(f"p{n}" for n in sorted(excluded)),
    )  # fmt: skip
    found = many.retrieve("default", query)
    allowed = [n for n in chosen if n not in excluded and (not brands or f"b{n % 4}" in brands)]
    exact = {f"p{n}": float(table[n] @ person[0]) for n in allowed}
    scores = found.candidates.scores.tolist()
    assert scores == sorted(exact.values(), reverse=True)[:limit]
    assert [exact[id] for id in found.candidates.ids] == scores
    assert not found.degradations
