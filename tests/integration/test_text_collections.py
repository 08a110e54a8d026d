"""Which collection and which fusion answer a search while a text version is in use. One suite for both engines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from kairos.retrieval.v1 import retrieval_pb2
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.common.models.text_version import FOLDER, FUSION, TextVersion, write_text_version
from services.retrieval.adapters.fusion_model import save_fusion
from services.retrieval.domain.learned_fusion import FEATURES, FusionNetwork
from services.retrieval.domain.query import RetrievalQuery
from services.retrieval.handler import RetrievalHandler
from services.retrieval.search import Retriever
from services.retrieval.settings import RetrievalSettings
from services.retrieval.text_shadow import TextShadow
from services.retrieval.wiring import retriever_over
from tests.integration.retrieval_engines import ENGINES, collections_of
from tests.integration.test_reembedding_congruence import begin, missing, store, switch, vectors
from tests.integration.test_retrieval_congruence import MODEL, SHOP, serving, upsert

if TYPE_CHECKING:
    from tests.integration.test_retrieval_congruence import Stub

TRAINED = "text@cccccccccccc"
RETRIEVER = pytest.StashKey[Retriever]()


def by_cosine(folder: Path) -> None:
    """A text version whose fusion orders by the cosine alone; what retrieval does not read is missing."""
    wanted = np.array([[10.0 if name == "cosine" else 0.0] for name in FEATURES], np.float32)
    zeros, ones = np.zeros(len(FEATURES), np.float32), np.ones(len(FEATURES), np.float32)
    network = FusionNetwork(zeros, 100 * ones, wanted, np.zeros(1, np.float32), np.ones(1, np.float32))
    save_fusion(network, folder / FUSION, {})
    write_text_version(TextVersion(TRAINED, 1.0, 0.0, fusion=True), folder)


@pytest.fixture(params=ENGINES)
async def stub(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stub]:
    """Of retrieval with the shop under MODEL, and a complete staged collection of a version in shadow."""
    registry = ModelRegistry(tmp_path / "models" / "default" / FOLDER)
    version = registry.publish(by_cosine, {"created_s": 1.0})
    registry.take_step(StepKind.SHADOW, version, lambda now: now.with_shadow(version))
    settings = RetrievalSettings(registry_dir=tmp_path / "models")
    collections = collections_of(request.param, tmp_path / "index")
    retriever = request.node.stash[RETRIEVER] = retriever_over(collections, settings)
    handler = RetrievalHandler(retriever, settings.workers, settings.answer_cache_mb)
    async with serving(handler) as client:
        await begin(client, TRAINED)
        await store(client, await missing(client), model=TRAINED)
        yield client


def asked(first: str, text: str = "") -> retrieval_pb2.RetrieveCandidatesRequest:
    """A query with vectors of both models, in which the one of `first` is the first."""
    by_model = {MODEL: vectors([[1, 0.1, 0]], MODEL), TRAINED: vectors([[0.1, 1]], TRAINED)}
    return retrieval_pb2.RetrieveCandidatesRequest(
        text=text, query_vectors=by_model.pop(first), other_query_vectors=list(by_model.values())
    )


async def answered_by(stub: Stub, first: str) -> str:
    answer = await stub.RetrieveCandidates(asked(first))
    assert not answer.degradations
    return answer.model_version


async def eventually(stub: Stub, expected: str) -> None:
    """Queries that begin with the version's vector are answered by `expected`, and never degraded."""
    deadline = time.monotonic() + 20
    while await answered_by(stub, TRAINED) != expected:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_the_first_vector_chooses(stub: Stub) -> None:
    """Before and after the switch, each query is answered by the collection of its first vector's model."""
    for _ in range(2):
        assert [await answered_by(stub, model) for model in (MODEL, TRAINED)] == [MODEL, TRAINED]
        await switch(stub, TRAINED)


async def test_an_incomplete_collection_answers_nobody(stub: Stub) -> None:
    """If a product has no vector of the version, the live collection answers by its own model, until it has one."""
    await stub.UpsertProducts(upsert(*SHOP[:2]))
    await eventually(stub, MODEL)
    await store(stub, await missing(stub), model=TRAINED)
    await eventually(stub, TRAINED)


async def test_the_fusion_goes_by_the_collection(stub: Stub) -> None:
    """The version's fusion orders what its own collection finds, and nothing else."""
    words = "wireless headphones"
    fixed = await stub.RetrieveCandidates(asked(MODEL, words))
    learned = await stub.RetrieveCandidates(asked(TRAINED, words))
    assert (fixed.model_version, fixed.candidates.ids[0]) == (MODEL, "phones")
    assert (learned.model_version, learned.candidates.ids[0]) == (TRAINED, "shoe")
    scores = dict(zip(learned.candidates.ids, learned.candidates.dense_scores, strict=True))
    assert list(learned.candidates.ids)[:3] == sorted(scores, key=lambda id: -scores[id])[:3]


async def test_a_repeated_search_sees_another_fusion(stub: Stub, tmp_path: Path) -> None:
    """An answer is kept no longer than the version whose fusion ordered it is in use."""
    registry = ModelRegistry(tmp_path / "models" / "default" / FOLDER)
    await switch(stub, TRAINED)

    async def first() -> str:
        return str((await stub.RetrieveCandidates(asked(TRAINED, "wireless headphones"))).candidates.ids[0])

    assert [await first() for _ in range(3)] == ["shoe"] * 3
    registry.take_step(StepKind.ROLLED_BACK, "0001", lambda now: now.alone())
    deadline = time.monotonic() + 20
    while await first() == "shoe":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


async def test_a_repeated_search_sees_a_write(stub: Stub) -> None:
    """An answer of the staged collection is kept no longer than what it was made of."""
    for _ in range(3):
        assert "late" not in (await stub.RetrieveCandidates(asked(TRAINED))).candidates.ids
    late = upsert(SHOP[0])
    late.products[0].id = "late"
    late.other_vectors.append(vectors([[0.1, 1]], TRAINED))
    await stub.UpsertProducts(late)
    answer = await stub.RetrieveCandidates(asked(TRAINED))
    assert (answer.model_version, answer.candidates.ids[0]) == (TRAINED, "late")


async def test_shadow(stub: Stub, request: pytest.FixtureRequest) -> None:
    """A sample of the searches is also answered by the version in shadow; what both find is counted, and no more."""
    retriever = request.node.stash[RETRIEVER]
    shadow = TextShadow(retriever, draw=lambda: 0.0)
    rows = (np.array([[1, 0.1, 0]], np.float32), MODEL), (np.array([[0.1, 1]], np.float32), TRAINED)
    query = RetrievalQuery(vectors=rows[0][0], model_version=MODEL, other_vectors=(rows[1],))
    shown = await asyncio.to_thread(retriever.retrieve, "default", query)
    shadow.look("default", query, shown, 0.5)
    shadow.close()
    counts = shadow.counts()
    of_trial = shadow.of_trial("default")
    assert of_trial is not None
    assert of_trial[0].startswith("trial:0001@")
    assert of_trial[1] == counts
    assert shadow.of_trial("other") is None
    assert (counts["requests"], counts["errors"], counts["seconds_of_current"]) == (1, 0, 0.5)
    # Each finds the four products that have a vector.
    assert counts["agreement"] == 1
