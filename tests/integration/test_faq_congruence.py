"""The FAQ of retrieval: stored, found, answered or not. One suite for both engines, over real gRPC."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient

from kairos.common.v1 import common_pb2, faq_pb2
from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from services.common.convert import vectors_to_proto
from services.common.errors import Conflict
from services.common.faq import FaqEntry
from services.retrieval.adapters.bm25 import Bm25Encoder
from services.retrieval.adapters.collection import Collections
from services.retrieval.adapters.edge_collections import EdgeCollections
from services.retrieval.adapters.faq import QdrantFaq
from services.retrieval.adapters.server import ServerCollections
from services.retrieval.settings import Bm25Settings, EdgeSettings, RetrievalSettings
from services.retrieval.wiring import handler_over, retriever_over
from tests.integration.retrieval_engines import ENGINES, collections_of

if TYPE_CHECKING:
    Stub = retrieval_pb2_grpc.RetrievalServiceAsyncStub

MODEL, OTHER = "m@1", "m@2"
# Each direction is a meaning.
RETURNS, SHIPPING, PAYMENT, NOTHING = np.eye(4, dtype=np.float32)
ENTRIES = {
    "returns": (["How can I return an order?", "I want to send a parcel back", "return policy"], RETURNS),
    "shipping": (["Where do you ship to?", "Which countries do you deliver to?", "delivery abroad"], SHIPPING),
    "payment": (["Which cards do you accept?", "Can I pay by invoice?", "ways to pay"], PAYMENT),
}


def entry(id: str, *questions: str, **fields: object) -> faq_pb2.FaqEntry:
    first, *others = questions
    return faq_pb2.FaqEntry(id=id, question=first, alternative_questions=others, answer=f"About {id}.", **fields)  # type: ignore[arg-type]


def upsert(*entries: faq_pb2.FaqEntry, model: str = MODEL) -> retrieval_pb2.UpsertFaqEntriesRequest:
    """Each question near the meaning of its entry."""
    random = np.random.default_rng(0)
    rows = [
        ENTRIES.get(each.id, ([], NOTHING))[1] + 0.2 * random.random(4).astype(np.float32)
        for each in entries
        for _ in range(1 + len(each.alternative_questions))
    ]
    return retrieval_pb2.UpsertFaqEntriesRequest(entries=entries, vectors=vectors_to_proto(np.stack(rows), model))


def faq() -> list[faq_pb2.FaqEntry]:
    return [entry(id, *questions, locale="en") for id, (questions, _) in ENTRIES.items()]


def ask(
    question: str, vector: np.ndarray | None = None, model: str = MODEL, limit: int = 3, locale: str = ""
) -> retrieval_pb2.MatchFaqRequest:
    return retrieval_pb2.MatchFaqRequest(
        context=common_pb2.RequestContext(tenant="default", locale=locale), question=question, limit=limit,
        vector=None if vector is None else vectors_to_proto(vector[np.newaxis], model),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def serving(collections: Collections) -> AsyncIterator[Stub]:
    settings = RetrievalSettings()
    handler = handler_over(retriever_over(collections, settings), settings)
    server = grpc.aio.server()
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield retrieval_pb2_grpc.RetrievalServiceStub(channel)
    await server.stop(None)
    handler.close()


@pytest.fixture(params=ENGINES)
async def stub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stub]:
    async with serving(collections_of(request.param, tmp_path)) as client:
        await client.UpsertFaqEntries(upsert(*faq()))
        yield client


async def listed(stub: Stub) -> list[faq_pb2.FaqEntry]:
    return list((await stub.ListFaqEntries(retrieval_pb2.ListFaqEntriesRequest(limit=500))).entries)


async def test_an_answer_and_an_abstention(stub: Stub) -> None:
    """A question near an entry is answered by it, the others are near; a question near none is not answered."""
    found = await stub.MatchFaq(ask("how do I send a parcel back", RETURNS))
    assert found.has_answer
    assert found.candidates[0].entry.id == "returns"
    assert found.candidates[0].matched_question == "I want to send a parcel back"
    confidences = [each.confidence for each in found.candidates]
    assert confidences == sorted(confidences, reverse=True)
    assert not (await stub.MatchFaq(ask("red running shoes", NOTHING))).has_answer


async def test_without_vectors(stub: Stub) -> None:
    """A question without a vector is answered by its words, also in Chinese."""
    chinese = entry("refund-zh", "多久可以收到退款", "退款需要几天", locale="zh")
    await stub.UpsertFaqEntries(retrieval_pb2.UpsertFaqEntriesRequest(entries=[chinese]))
    assert (await stub.MatchFaq(ask("退款多久可以收到"))).candidates[0].entry.id == "refund-zh"
    assert (await stub.MatchFaq(ask("Which countries do you deliver to"))).has_answer


async def test_versions(stub: Stub) -> None:
    """An entry begins with version 1, and gets the next one only when its content changes."""
    assert {each.version for each in await listed(stub)} == {1}
    changed = entry("returns", "How can I return an order?", locale="en")
    answer = await stub.UpsertFaqEntries(upsert(changed, *faq()[1:]))
    assert (answer.stored_count, answer.unchanged_count) == (1, 2)
    assert {each.id: each.version for each in await listed(stub)} == {"returns": 2, "shipping": 1, "payment": 1}
    # Its other questions are gone.
    found = await stub.MatchFaq(ask("I want to send a parcel back", RETURNS))
    assert found.candidates[0].matched_question == "How can I return an order?"


async def test_validity(stub: Stub) -> None:
    """An entry answers from `valid_from` on and before `valid_until`; it is listed at any time."""
    over = entry("returns", *ENTRIES["returns"][0], locale="en")
    over.valid_until.seconds = 1_000
    await stub.UpsertFaqEntries(upsert(over))
    found = await stub.MatchFaq(ask("return policy", RETURNS))
    assert "returns" not in [each.entry.id for each in found.candidates]
    assert "returns" in [each.id for each in await listed(stub)]


async def test_preferred_language(stub: Stub) -> None:
    """Of two entries that answer, the one in the language of the locale comes first."""
    await stub.UpsertFaqEntries(upsert(entry("returns-zh", *ENTRIES["returns"][0], locale="zh")))
    for locale, id in (("en-GB", "returns"), ("zh-CN", "returns-zh")):
        assert (await stub.MatchFaq(ask("return policy", locale=locale))).candidates[0].entry.id == id


async def test_removal(stub: Stub) -> None:
    """A removed entry is found no more; unknown ids are named."""
    answer = await stub.RemoveFaqEntries(retrieval_pb2.RemoveFaqEntriesRequest(ids=["returns", "x"]))
    assert (answer.removed_count, list(answer.missing_ids)) == (1, ["x"])
    assert [each.id for each in await listed(stub)] == ["payment", "shipping"]
    assert not (await stub.MatchFaq(ask("return policy", RETURNS))).has_answer


async def test_pages(stub: Stub) -> None:
    """Pages follow each other by id."""
    first = await stub.ListFaqEntries(retrieval_pb2.ListFaqEntriesRequest(limit=2))
    assert [each.id for each in first.entries] == ["payment", "returns"]
    assert not first.is_last_page
    second = await stub.ListFaqEntries(retrieval_pb2.ListFaqEntriesRequest(limit=2, after_id="returns"))
    assert [each.id for each in second.entries] == ["shipping"]
    assert second.is_last_page


async def test_another_model(stub: Stub) -> None:
    """A question by a model that the FAQ has no vectors of is compared by its words, which is reported; after an import
    with that model it is compared by its vectors, and those of the first model are still there.
    """
    by_words = await stub.MatchFaq(ask("return policy", RETURNS, OTHER))
    assert by_words.candidates[0].entry.id == "returns"
    (degradation,) = by_words.degradations
    assert degradation.reason == common_pb2.DEGRADATION_REASON_MODEL_VERSION_MISMATCH
    assert "kairos faq reembed" in degradation.detail
    answer = await stub.UpsertFaqEntries(upsert(*faq(), model=OTHER))
    assert (answer.stored_count, answer.unchanged_count) == (0, 3)
    for model in (OTHER, MODEL):
        by_vector = await stub.MatchFaq(ask("give it back", RETURNS, model))
        assert by_vector.candidates[0].entry.id == "returns"
        assert not by_vector.degradations


async def test_a_search_beside(stub: Stub) -> None:
    """A search brings the entry that answers its question; a query for products brings none."""
    request = retrieval_pb2.RetrieveCandidatesRequest(
        text="return policy", query_vectors=vectors_to_proto(RETURNS[np.newaxis], MODEL), faq_question="return policy"
    )
    # The first search of a process may be quicker than the FAQ, which is then left out.
    answers = [await stub.RetrieveCandidates(request) for _ in range(5)]
    assert "returns" in [each.faq.entry.id for each in answers]
    request.faq_question = "red shoes"
    request.query_vectors.CopyFrom(vectors_to_proto(NOTHING[np.newaxis], MODEL))
    assert not (await stub.RetrieveCandidates(request)).HasField("faq")


@pytest.mark.parametrize("engine", ENGINES)
def test_bounds(engine: str, tmp_path: Path) -> None:
    """More entries, or more questions, than are kept are refused with the remedy, and nothing is stored."""
    collections = collections_of(engine, tmp_path)
    index = QdrantFaq(collections, Bm25Encoder(Bm25Settings()), most_entries=2, most_questions=4)
    two = [FaqEntry(id, "x", "y") for id in "ab"]
    index.upsert("default", two, [])
    for entries in ([FaqEntry("c", "x", "y")], [FaqEntry("a", "x", "y", ("x",) * 3)]):
        with pytest.raises(Conflict, match="kairos faq delete"):
            index.upsert("default", entries, [])
    assert [each.questions for each in index.entries("default", "", 9)] == [("x",), ("x",)]
    index.close()
    collections.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_durability(engine: str, tmp_path: Path) -> None:
    """What was stored is there after a restart, and another replica of a server sees it."""
    client = QdrantClient(":memory:")

    def opened() -> Collections:
        return EdgeCollections(tmp_path, EdgeSettings()) if engine == "edge" else ServerCollections(client, "test-")

    if engine == "edge":
        async with serving(opened()) as stub:
            await stub.UpsertFaqEntries(upsert(*faq()))
        async with serving(opened()) as stub:
            assert len(await listed(stub)) == 3
            assert (await stub.MatchFaq(ask("give it back", RETURNS))).candidates[0].entry.id == "returns"
    else:
        async with serving(opened()) as first, serving(opened()) as second:
            assert not await listed(second)
            await first.UpsertFaqEntries(upsert(*faq()))
            assert len(await listed(first)) == 3
