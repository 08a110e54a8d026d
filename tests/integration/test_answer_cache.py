"""Answers from retrieval's cache are the answers that the index gives without it, whatever was written (Edge)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_to_proto
from services.common.errors import Conflict
from services.common.product import Product
from services.retrieval import convert
from services.retrieval.adapters.edge import EdgeCollection
from services.retrieval.adapters.edge_collections import EdgeCollections
from services.retrieval.handler import RetrievalHandler
from services.retrieval.ports import Vectors
from services.retrieval.search import Retriever
from services.retrieval.settings import EdgeSettings, RetrievalSettings
from services.retrieval.wiring import retriever_over
from tests.integration.retrieval_engines import indexed, new_tenant

OLD, NEW, IMAGES = "m@1", "m@2", "image@1"
WORDS = ("red shoes", "red boots", "cable", "shoes")
IDS = tuple(f"p{number}" for number in range(6))


@dataclass(frozen=True)
class Shop:
    """One tenant of an index, written to directly and read through the handler that has the cache."""

    handler: RetrievalHandler
    retriever: Retriever
    collections: EdgeCollections
    tenant: str

    def requests(self) -> Iterator[retrieval_pb2.RetrieveCandidatesRequest]:
        for words in WORDS[:2]:
            request = retrieval_pb2.RetrieveCandidatesRequest(text=words, with_vectors=True, facets=["brand"])
            request.query_vectors.CopyFrom(vectors_to_proto(np.array([[1, 0.2]], np.float32), OLD))
            request.other_query_vectors.append(vectors_to_proto(np.array([[0.2, 1]], np.float32), NEW))
            request.image_vector.CopyFrom(vectors_to_proto(np.array([[0, 1]], np.float32), IMAGES))
            request.context.tenant = self.tenant
            yield request
        yield retrieval_pb2.RetrieveCandidatesRequest(context={"tenant": self.tenant}, limit=3)  # type: ignore[arg-type]

    async def ask(self, request: retrieval_pb2.RetrieveCandidatesRequest) -> bytes:
        answer = await self.handler.RetrieveCandidates(request, NoContext())
        return answer.SerializeToString(deterministic=True)

    async def check(self) -> None:
        """Each search is asked often enough to be kept."""
        for request in self.requests():
            found = self.retriever.retrieve(self.tenant, convert.query_from_proto(request))
            expected = convert.retrieval_to_proto(found).SerializeToString(deterministic=True)
            assert [await self.ask(request) for _ in range(3)] == [expected] * 3

    def write(self, numbers: Sequence[int], words: str, model: str, with_pictures: bool = False) -> None:
        products = [Product(id=IDS[number], title=f"{words} {number}", brand=words) for number in numbers]
        rows = np.array([[len(words), number] for number in numbers], np.float32)
        images = Vectors(rows[:, ::-1].copy(), IMAGES) if with_pictures else None
        self.retriever.index.upsert(self.tenant, indexed(products), Vectors(rows, model), images)

    def remove(self, numbers: Sequence[int]) -> None:
        self.retriever.index.remove(self.tenant, [IDS[number] for number in numbers])

    def embed(self) -> None:
        """A staged collection of the other model, filled."""
        reembedding = self.retriever.index.reembedding
        model = self.other_model()
        reembedding.begin(self.tenant, model, 2)
        found = reembedding.unembedded(self.tenant, 0, 100)
        rows = np.arange(2.0, 2 + 2 * len(found.ids), dtype=np.float32).reshape(-1, 2)
        if found.ids:
            reembedding.store(self.tenant, found.ids, found.fingerprints, Vectors(rows, model))

    def switch(self) -> None:
        self.retriever.index.reembedding.switch(self.tenant, self.other_model())

    def drop(self) -> None:
        self.retriever.index.reembedding.drop(self.tenant, self.other_model())

    def optimise(self) -> None:
        collection = self.collections.get(self.tenant)
        if isinstance(collection, EdgeCollection):
            collection.optimize(lambda _: True)

    def other_model(self) -> str:
        return NEW if self.retriever.index.model_version(self.tenant) == OLD else OLD


class NoContext:
    def invocation_metadata(self) -> tuple[()]:
        return ()


@pytest.fixture(scope="module")
def new_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Shop]]:
    """All shops share the cache."""
    collections = EdgeCollections(tmp_path_factory.mktemp("cache"), EdgeSettings())
    retriever = retriever_over(collections, RetrievalSettings())
    handler = RetrievalHandler(retriever, workers=2, answer_cache_mb=1)
    yield lambda: Shop(handler, retriever, collections, new_tenant())
    handler.close()


numbers = st.lists(st.sampled_from(range(len(IDS))), min_size=1, max_size=3, unique=True)
changes = st.one_of(
    st.tuples(st.just("write"), numbers, st.sampled_from(WORDS), st.sampled_from((OLD, NEW)), st.booleans()),
    st.tuples(st.just("remove"), numbers),
    st.sampled_from([("embed",), ("switch",), ("drop",), ("optimise",)]),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(changes, st.booleans()), min_size=1, max_size=6))
def test_any_order_of_changes_and_searches(
    new_shop: Callable[[], Shop], steps: list[tuple[tuple[str, ...], bool]]
) -> None:
    """After each change, searches have the answers of the index; also if searches ran while it was made."""
    shop = new_shop()

    async def run() -> None:
        for (change, *arguments), meanwhile in steps:
            asked = [shop.ask(request) for request in shop.requests()] if meanwhile else []
            with suppress(Conflict):
                await asyncio.gather(asyncio.to_thread(getattr(shop, change), *arguments), *asked)
            await shop.check()

    asyncio.run(run())
    assert shop.handler.measures()["kairos_retrieval_cache_hits"] > 0


@pytest.mark.parametrize(
    "change",
    [
        lambda shop: shop.write([0], "other words", OLD),
        lambda shop: shop.write([0], "red shoes", OLD, with_pictures=True),
        lambda shop: shop.remove([0]),
        lambda shop: shop.optimise(),
        lambda shop: shop.switch(),
        lambda shop: (shop.switch(), shop.switch()),
        lambda shop: (shop.remove(range(len(IDS))), shop.write([0], "red shoes", NEW)),
    ],
    ids=["write", "first picture", "removal", "optimised copy", "switch", "switch and back", "new collection"],
)
def test_every_change_has_a_new_revision(new_shop: Callable[[], Shop], change: Callable[[Shop], None]) -> None:
    """Whatever changes answers changes the revision, and no revision comes back."""
    shop = new_shop()
    shop.write(range(len(IDS)), "red shoes", OLD)
    shop.embed()
    before = shop.retriever.index.revision(shop.tenant)
    change(shop)
    after = shop.retriever.index.revision(shop.tenant)
    assert after is not None
    assert after != before


def test_a_change_of_another_tenant(new_shop: Callable[[], Shop]) -> None:
    """It leaves the revision as it is."""
    shop, other = new_shop(), new_shop()
    shop.write([0, 1], "red shoes", OLD)
    before = shop.retriever.index.revision(shop.tenant)
    other.write([0], "red shoes", OLD)
    assert shop.retriever.index.revision(shop.tenant) == before
