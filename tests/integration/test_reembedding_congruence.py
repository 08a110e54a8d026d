"""Re-embedding: the staged collection, its check, the switch. One suite for both engines, over real gRPC."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from numpy.typing import ArrayLike
from qdrant_client import QdrantClient

from kairos.common.v1 import common_pb2, product_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.arrays import unit_rows
from services.common.convert import vectors_from_proto, vectors_to_proto
from services.retrieval.adapters.edge import EdgeCollection
from services.retrieval.adapters.edge_collections import EdgeCollections
from services.retrieval.adapters.server import ServerCollections
from services.retrieval.domain.query import FloatArray
from services.retrieval.handler import RetrievalHandler
from services.retrieval.settings import RetrievalSettings
from services.retrieval.wiring import build_handler, retriever_over
from tests.integration.test_retrieval_congruence import (
    MODEL,
    SHOP,
    VECTORS,
    picture,
    serving,
    stub,
    upsert,
    upsert_with_pictures,
)

if TYPE_CHECKING:
    from tests.integration.test_retrieval_congruence import Stub

__all__ = ["stub"]  # the fixture

NEW = "m@2"
# Of SHOP under the new model, in two dimensions: the phones are where the shoes are under the old one.
NEW_VECTORS = np.array([[0, 1], [0.6, 0.8], [0.8, -0.6], [1, 0], [0, 0]], np.float32)
ROW = {entry.id: row for row, entry in enumerate(SHOP)}


def vectors(values: ArrayLike, model: str) -> common_pb2.Vectors:
    return vectors_to_proto(np.asarray(values, np.float32), model)


def both(text: str = "") -> retrieval_pb2.RetrieveCandidatesRequest:
    """A query with vectors of both models: near the shoe under the old one, near the phones under the new one."""
    return retrieval_pb2.RetrieveCandidatesRequest(
        text=text,
        query_vectors=vectors([[1, 0.1, 0]], MODEL),
        other_query_vectors=[vectors([[1, 0.1]], NEW)],
    )


async def begin(stub: Stub, model: str = NEW, dimensions: int = 2) -> None:
    await stub.BeginReembedding(retrieval_pb2.BeginReembeddingRequest(model_version=model, dimensions=dimensions))


async def missing(stub: Stub, limit: int = 2) -> retrieval_pb2.ListUnembeddedProductsResponse:
    """All pages as one."""
    whole, token = retrieval_pb2.ListUnembeddedProductsResponse(), ""
    while True:
        request = retrieval_pb2.ListUnembeddedProductsRequest(page_token=token, limit=limit)
        page = await stub.ListUnembeddedProducts(request)
        token = page.next_page_token
        page.ClearField("next_page_token")
        whole.ids.extend(page.ids)
        whole.products.extend(page.products)
        whole.fingerprints.extend(page.fingerprints)
        whole.compared_count += page.compared_count
        if not token:
            return whole


async def store(
    stub: Stub, found: retrieval_pb2.ListUnembeddedProductsResponse, of: FloatArray = NEW_VECTORS, model: str = NEW
) -> int:
    rows = of[[ROW[id] for id in found.ids]]
    answer = await stub.StoreEmbeddings(
        retrieval_pb2.StoreEmbeddingsRequest(
            ids=found.ids, fingerprints=found.fingerprints, vectors=vectors(rows, model)
        )
    )
    return answer.stored_count


async def fill(stub: Stub) -> None:
    await begin(stub)
    assert await store(stub, await missing(stub)) == len(SHOP)


async def switch(stub: Stub, model: str = NEW) -> None:
    await stub.SwitchCollections(retrieval_pb2.SwitchCollectionsRequest(model_version=model))


async def describe(stub: Stub) -> retrieval_pb2.DescribeCollectionsResponse:
    return await stub.DescribeCollections(retrieval_pb2.DescribeCollectionsRequest())


async def refused(call: Awaitable[object]) -> str:
    """The message of a FAILED_PRECONDITION."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    return caught.value.details() or ""


async def test_a_new_model_takes_over(stub: Stub) -> None:
    """The old vectors are searched before the switch, the new ones after it; a query with both keeps its dense leg."""
    await fill(stub)
    before = await stub.RetrieveCandidates(both())
    await switch(stub)
    after = await stub.RetrieveCandidates(both())
    assert (before.candidates.ids[0], before.model_version) == ("shoe", MODEL)
    assert (after.candidates.ids[0], after.model_version) == ("phones", NEW)
    assert not before.degradations
    assert not after.degradations


async def test_all_of_a_product_comes_along(stub: Stub) -> None:
    """After the switch text, filters, images, prices and fingerprints are as before; the vectors are the new ones."""
    await stub.UpsertProducts(upsert_with_pictures())
    lookup = retrieval_pb2.LookupProductsRequest(ids=list(ROW), with_products=True, with_vectors=True)
    words = retrieval_pb2.RetrieveCandidatesRequest(
        text="klarvox cable headphones", filter=product_pb2.ProductFilter(brands=["klarvox"])
    )
    eye = retrieval_pb2.RetrieveCandidatesRequest(image_vector=picture(1, 0))
    old = [await stub.RetrieveCandidates(words), await stub.RetrieveCandidates(eye)]
    old_lookup = await stub.LookupProducts(lookup)
    await fill(stub)
    await switch(stub)
    new = [await stub.RetrieveCandidates(words), await stub.RetrieveCandidates(eye)]
    new_lookup = await stub.LookupProducts(lookup)
    for one, other in zip(old, new, strict=True):
        assert list(one.candidates.ids) == list(other.candidates.ids)
        np.testing.assert_allclose(one.candidates.scores, other.candidates.scores, rtol=1e-3)
    directions = unit_rows(np.array(NEW_VECTORS, np.float32))
    np.testing.assert_allclose(vectors_from_proto(new_lookup.candidates.vectors, "v"), directions, atol=5e-3)
    for answer in (old_lookup, new_lookup):
        answer.ClearField("model_version")
        answer.candidates.ClearField("vectors")
    assert old_lookup == new_lookup


async def test_the_way_back(stub: Stub) -> None:
    """The old collection stays as the previous one; a second switch brings it back; a drop removes it."""
    await fill(stub)
    assert not (await describe(stub)).staged_is_previous
    await switch(stub)
    state = await describe(stub)
    assert (state.live.model_version, state.staged.model_version, state.staged_is_previous) == (NEW, MODEL, True)
    await switch(stub, MODEL)
    assert (await stub.RetrieveCandidates(both())).candidates.ids[0] == "shoe"
    await stub.DropCollection(retrieval_pb2.DropCollectionRequest(model_version=NEW))
    assert not (await describe(stub)).HasField("staged")
    assert "begin" in await refused(switch(stub))
    await fill(stub)
    await switch(stub)
    assert (await stub.RetrieveCandidates(both())).candidates.ids[0] == "phones"


async def test_nothing_is_switched_to_unless_it_is_whole(stub: Stub) -> None:
    """While products are missing the switch is refused with their number; searches go on as before."""
    await begin(stub)
    await store(stub, await first_page(stub))
    assert "3 products" in await refused(switch(stub))
    assert (await stub.RetrieveCandidates(both())).model_version == MODEL


async def first_page(stub: Stub) -> retrieval_pb2.ListUnembeddedProductsResponse:
    return await stub.ListUnembeddedProducts(retrieval_pb2.ListUnembeddedProductsRequest(limit=2))


async def test_each_step_again(stub: Stub) -> None:
    """A step that is repeated changes nothing."""
    await fill(stub)
    await begin(stub)
    found = await missing(stub)
    assert (list(found.ids), found.compared_count) == ([], len(SHOP))
    for _ in range(2):
        await switch(stub)
    for _ in range(2):
        await stub.DropCollection(retrieval_pb2.DropCollectionRequest(model_version=MODEL))
    assert (await describe(stub)).live.product_count == len(SHOP)


def changed(id: str) -> product_pb2.Product:
    entry = product_pb2.Product()
    entry.CopyFrom(SHOP[ROW[id]])
    entry.title += " (new)"
    return entry


def write(entry: product_pb2.Product, **models: list[float]) -> retrieval_pb2.UpsertProductsRequest:
    """With vectors of these models: old, new."""
    given = [vectors([row], MODEL if name == "old" else NEW) for name, row in models.items()]
    return retrieval_pb2.UpsertProductsRequest(
        products=[entry], fingerprints=[b"new"], vectors=given[0], other_vectors=given[1:]
    )


async def test_writes_meanwhile(stub: Stub) -> None:
    """A product written while a collection is filled is in both, or missing in the new one until it is stored."""
    await fill(stub)
    await stub.UpsertProducts(write(changed("shoe"), old=[1, 0, 0]))
    await stub.UpsertProducts(write(changed("boot"), new=[0.6, 0.8]))
    await stub.UpsertProducts(write(changed("phones"), old=[0, 0, 1], new=[1, 0]))
    await stub.RemoveProducts(retrieval_pb2.RemoveProductsRequest(ids=["cable"]))
    found = await missing(stub)
    assert list(found.ids) == ["shoe"]
    assert product_pb2.Product.FromString(found.products[0]).title == "Red running shoes (new)"
    # Until the switch only the lexical leg finds the boots, and the next import sees them as changed.
    lookup = retrieval_pb2.LookupProductsRequest(ids=["shoe", "boot"], with_products=True)
    assert list((await stub.LookupProducts(lookup)).fingerprints) == [b"new", b""]
    by_old = await stub.RetrieveCandidates(both())
    assert set(by_old.candidates.ids) == {"shoe", "phones"}
    assert "boot" in (await stub.RetrieveCandidates(both("boots"))).candidates.ids
    await store(stub, found)
    await switch(stub)
    by_new = await stub.RetrieveCandidates(both())
    assert set(by_new.candidates.ids) == {"shoe", "boot", "phones"}
    lookup = retrieval_pb2.LookupProductsRequest(ids=list(ROW), with_products=True)
    there = await stub.LookupProducts(lookup)
    titles = [product_pb2.Product.FromString(data).title for data in there.candidates.products]
    assert list(there.missing_ids) == ["cable"]
    assert sum(title.endswith("(new)") for title in titles) == 3


async def test_writes_after_the_switch(stub: Stub) -> None:
    """With vectors of both models products are in the old collection as well: a switch back loses nothing."""
    await fill(stub)
    await switch(stub)
    await stub.UpsertProducts(write(changed("shoe"), new=[0, 1], old=[1, 0, 0]))
    await stub.UpsertProducts(write(changed("boot"), new=[0.6, 0.8]))
    # A write without the live model's vectors is never accepted silently.
    assert NEW in await refused(stub.UpsertProducts(write(changed("cable"), old=[0, 1, 0])))
    assert "1 products" in await refused(switch(stub, MODEL))
    await store(stub, await missing(stub), VECTORS, MODEL)
    await switch(stub, MODEL)
    answer = await stub.RetrieveCandidates(both())
    assert list(answer.candidates.ids)[:2] == ["shoe", "boot"]


async def test_vectors_of_an_old_text(stub: Stub) -> None:
    """A product that was changed or removed since its text was read is not stored with that text's vector."""
    await begin(stub)
    read = await missing(stub)
    await stub.UpsertProducts(write(changed("shoe"), old=[1, 0, 0]))
    await stub.RemoveProducts(retrieval_pb2.RemoveProductsRequest(ids=["cable"]))
    assert await store(stub, read) == len(SHOP) - 2
    assert list((await missing(stub)).ids) == ["shoe"]


async def test_what_does_not_fit(stub: Stub) -> None:
    """The live model, a third model and vectors of other models are refused with the reason."""
    assert "already" in await refused(begin(stub, MODEL, 3))
    await begin(stub)
    assert NEW in await refused(begin(stub, "m@3", 2))
    assert NEW in await refused(begin(stub, NEW, 3))
    assert NEW in await refused(store(stub, await missing(stub), VECTORS, "m@3"))
    other = write(changed("shoe"), old=[1, 0, 0])
    other.vectors.model_version = "m@3"
    assert "kairos catalog reembed" in await refused(stub.UpsertProducts(other))
    drop = retrieval_pb2.DropCollectionRequest(model_version=MODEL)
    assert NEW in await refused(stub.DropCollection(drop))


async def test_an_empty_catalogue(stub: Stub) -> None:
    """An empty catalogue is not re-embedded; the next import may use any model."""
    await stub.RemoveProducts(retrieval_pb2.RemoveProductsRequest(ids=list(ROW)))
    assert "empty" in await refused(begin(stub))
    await stub.UpsertProducts(write(changed("phones"), new=[1, 0]))
    assert (await stub.RetrieveCandidates(both())).candidates.ids == ["phones"]


async def test_figures(stub: Stub) -> None:
    """Counts of both collections and of products without a vector; recall and overlap of the check."""
    await fill(stub)
    state = await describe(stub)
    assert (state.live.product_count, state.live.without_vector_count) == (5, 1)
    assert (state.staged.product_count, state.staged.without_vector_count, state.staged.dimensions) == (5, 1, 2)
    found = await stub.CheckEmbeddings(retrieval_pb2.CheckEmbeddingsRequest(sample_size=200))
    assert (found.sampled_count, found.recall) == (4, 1)
    # Of so few products all are neighbours of all.
    assert found.overlap == 1


async def test_bad_input_is_named(stub: Stub) -> None:
    """Bounds and tokens are refused by the name of the field."""
    page = retrieval_pb2.ListUnembeddedProductsRequest
    some = retrieval_pb2.StoreEmbeddingsRequest(
        ids=["a", "a"], fingerprints=[b"", b""], vectors=vectors(VECTORS[:2], NEW)
    )
    ragged = both()
    ragged.other_query_vectors[0].CopyFrom(vectors([[1, 0], [0, 1]], NEW))
    many = both()
    many.other_query_vectors.extend([many.other_query_vectors[0]] * 4)
    for call, field in (
        (stub.RetrieveCandidates(many), "other_query_vectors: has 5 entries"),
        (stub.BeginReembedding(retrieval_pb2.BeginReembeddingRequest(model_version=NEW)), "dimensions"),
        (stub.BeginReembedding(retrieval_pb2.BeginReembeddingRequest(dimensions=2)), "model_version"),
        (stub.ListUnembeddedProducts(page(limit=513)), "limit"),
        (stub.ListUnembeddedProducts(page(page_token="x")), "page_token"),
        (stub.ListUnembeddedProducts(page(page_token=str(2**64))), "page_token"),
        (stub.StoreEmbeddings(some), "ids"),
        (stub.CheckEmbeddings(retrieval_pb2.CheckEmbeddingsRequest(sample_size=201)), "sample_size"),
        (stub.SwitchCollections(retrieval_pb2.SwitchCollectionsRequest()), "model_version"),
        (stub.RetrieveCandidates(ragged), "other_query_vectors[0].values.shape"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert field in (caught.value.details() or "")


async def test_searches_during_switches(stub: Stub) -> None:
    """Each search uses one collection: no degradation, and vectors of the version that the answer names."""
    await fill(stub)
    done = asyncio.Event()
    seen = set()

    async def search() -> None:
        request = both("headphones")
        request.with_vectors = True
        while not done.is_set():
            answer = await stub.RetrieveCandidates(request)
            assert not answer.degradations
            best = answer.candidates.ids[int(np.argmax(answer.candidates.dense_scores))]
            shape = tuple(answer.candidates.vectors.values.shape)
            assert (answer.model_version, best, shape) in (
                (MODEL, "shoe", (4, 3)), (NEW, "phones", (4, 2)),
            )  # fmt: skip
            seen.add(answer.model_version)

    searches = [asyncio.create_task(search()) for _ in range(4)]
    for model in itertools.islice(itertools.cycle((NEW, MODEL)), 20):
        await switch(stub, model)
        await asyncio.sleep(0.01)
    done.set()
    await asyncio.gather(*searches)
    assert seen == {MODEL, NEW}


class Context:
    def invocation_metadata(self) -> tuple[()]:
        return ()


async def test_another_replica_sees_the_switch() -> None:
    """Server: a replica that knew the old collection writes to both, and searches the new one within a second."""
    settings, client = RetrievalSettings(), QdrantClient(":memory:")
    first, second = (
        RetrievalHandler(retriever_over(ServerCollections(client, "test-"), settings), 1, answer_cache_mb=1)
        for _ in range(2)
    )
    async with serving(first) as stub:
        await second.RetrieveCandidates(both(), Context())
        await fill(stub)
        await second.UpsertProducts(write(changed("shoe"), old=[1, 0, 0]), Context())
        assert list((await missing(stub)).ids) == ["shoe"]
        await store(stub, await missing(stub))
        await switch(stub)
        deadline = time.monotonic() + 5
        while (await second.RetrieveCandidates(both(), Context())).model_version == MODEL:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        answer = await second.RetrieveCandidates(both(), Context())
        assert (answer.candidates.ids[0], len(answer.degradations)) == ("phones", 0)
    # Its thread would ask the closed client for as long as other tests run.
    second.close()


async def test_optimising_while_it_is_switched(tmp_path: Path) -> None:
    """Edge: a staged collection is optimised as any other; meanwhile it may become live and be written to."""
    settings = RetrievalSettings(data_dir=tmp_path)
    collections = EdgeCollections(tmp_path, settings.edge)
    handler = RetrievalHandler(retriever_over(collections, settings), settings.workers, settings.answer_cache_mb)
    local: Stub = Local(handler)  # type: ignore[assignment]
    await local.UpsertProducts(upsert(*SHOP))
    await fill(local)
    staged = collections.pair("default").staged
    assert isinstance(staged, EdgeCollection)
    loop = asyncio.get_running_loop()

    def optimise_and_meanwhile(path: Path) -> bool:
        done = collections._run_optimizer(path)
        asyncio.run_coroutine_threadsafe(switch(local), loop).result()
        write_both = local.UpsertProducts(write(changed("boot"), new=[1, 0], old=[1, 0, 0]))
        asyncio.run_coroutine_threadsafe(_done(write_both), loop).result()
        return done

    assert await asyncio.to_thread(staged.optimize, optimise_and_meanwhile)
    answer = await local.RetrieveCandidates(both())
    assert (answer.model_version, set(answer.candidates.ids[:2])) == (NEW, {"phones", "boot"})
    handler.close()
    handler = build_handler(settings)
    answer = await handler.RetrieveCandidates(both(), Context())
    assert (answer.model_version, set(answer.candidates.ids[:2])) == (NEW, {"phones", "boot"})
    handler.close()


async def _done(call: Awaitable[object]) -> object:
    return await call


async def work_until_killed(folder: Path) -> None:
    """In a loop: writes with vectors of the live model or of both, steps of a re-embedding, switches.

    The number of each write is printed once the write is acknowledged.
    """
    local: Stub = Local(build_handler(RetrievalSettings(data_dir=folder)))  # type: ignore[assignment]
    for number in itertools.count(1):
        state = await describe(local)
        if not state.HasField("staged"):
            await begin_other(local)
        entry = changed("shoe")
        entry.title = f"shoe {number}"
        models = {"old": [1.0, 0.0, 0.0], "new": [0.0, 1.0]}
        if number % 2:
            # Of the live model alone: missing in the other collection until it is stored.
            del models["new" if state.live.model_version == MODEL else "old"]
        await local.UpsertProducts(write(entry, **models))
        print(number, flush=True)
        if number % 3 == 0:
            await fill_and_switch_to_other(local)
        if number % 6 == 0:
            live = state.live.model_version
            await local.DropCollection(retrieval_pb2.DropCollectionRequest(model_version=live))


async def begin_other(stub: Stub) -> str:
    """With the model that is not live."""
    target = NEW if (await describe(stub)).live.model_version == MODEL else MODEL
    await begin(stub, target, 2 if target == NEW else 3)
    return target


async def fill_and_switch_to_other(stub: Stub) -> None:
    target = await begin_other(stub)
    found = await missing(stub)
    if found.ids:
        await store(stub, found, *((NEW_VECTORS, NEW) if target == NEW else (VECTORS, MODEL)))
    await switch(stub, target)


class Local:
    """A handler in the place of a stub."""

    def __init__(self, handler: RetrievalHandler) -> None:
        self._handler = handler

    def __getattr__(self, name: str) -> object:
        return lambda request: getattr(self._handler, name)(request, Context())


_WORK = "import asyncio; from pathlib import Path; from tests.integration import test_reembedding_congruence as t; "


# A switch and a drop come after the third and sixth write.
@pytest.mark.parametrize(("writes", "seconds"), [(1, 0.0), (3, 0.02), (6, 0.05), (9, 0.2)])
async def test_kill_9_at_any_step(tmp_path: Path, writes: int, seconds: float) -> None:
    """Edge: after kill -9 amid writes, steps and switches every acknowledged write is there, and the work goes on."""
    first = build_handler(RetrievalSettings(data_dir=tmp_path))
    await first.UpsertProducts(upsert(*SHOP), Context())
    first.close()
    command = [sys.executable, "-c", f"{_WORK} asyncio.run(t.work_until_killed(Path({str(tmp_path)!r})))"]
    acknowledged = await asyncio.to_thread(acknowledged_until_killed, command, writes, seconds)
    assert len(acknowledged) >= writes
    handler = build_handler(RetrievalSettings(data_dir=tmp_path))
    local: Stub = Local(handler)  # type: ignore[assignment]
    answer = await local.LookupProducts(retrieval_pb2.LookupProductsRequest(ids=list(ROW), with_products=True))
    assert not answer.missing_ids
    # The write after the last acknowledged one may be there as well.
    title = product_pb2.Product.FromString(answer.candidates.products[ROW["shoe"]]).title
    assert title in (f"shoe {acknowledged[-1]}", f"shoe {acknowledged[-1] + 1}")
    await fill_and_switch_to_other(local)
    assert (await describe(local)).live.product_count == len(SHOP)
    assert not (await local.RetrieveCandidates(both())).degradations
    handler.close()


def acknowledged_until_killed(command: list[str], writes: int, seconds: float) -> list[int]:
    """Kills `seconds` after that many writes were acknowledged."""
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        # Between log lines.
        numbers = (int(line) for line in child.stdout if line.strip().isdigit())
        acknowledged = list(itertools.islice(numbers, writes))
        time.sleep(seconds)
        child.kill()
        acknowledged += numbers
    assert child.returncode == -9
    return acknowledged
