"""RankerService with boosted trees of the registry, over real gRPC, by protos/kairos/ranker/v1/ranker.proto."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias

import grpc
import numpy as np
import pytest

from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_to_proto
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.ranker.adapters.trees_ranker import TreesRanker
from services.ranker.domain.baselines import by_shuffle
from services.ranker.domain.features import FEATURES_VERSION
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler
from tests.unit.ranker.trees_folders import CURVES, write_trees

# In quotes: only the stubs' type files know this name.
Stub: TypeAlias = "ranker_pb2_grpc.RankerServiceAsyncStub"
RankerName: TypeAlias = Literal["weighted-sum", "retrieval-order"]
# The direction of the items of each kind.
KINDS = {"lamp": (1.0, 0.0), "boot": (0.0, 1.0)}
LIKES = {"last_cosine": 2.0, "brand_share": 1.0, "retrieval_rank": 5.0, "log_popularity": 0.5}
OF_PERSON: dict[str, Any] = {"as_slate": True, "candidate_source": ranker_pb2.CANDIDATE_SOURCE_INTERESTS}
OF_PRODUCT: dict[str, Any] = {"as_slate": True, "candidate_source": ranker_pb2.CANDIDATE_SOURCE_BOUGHT_TOGETHER}


def candidates() -> retrieval_pb2.Candidates:
    names = [f"{kind}{n}" for n in range(4) for kind in KINDS]
    vectors = np.array([KINDS[name[:-1]] for name in names], np.float16)
    return retrieval_pb2.Candidates(
        ids=names, scores=[1 - n / 10 for n in range(8)], prices=[10.0] * 8, stocks=[5] * 7 + [0],
        brands=[name[:-1] for name in names], categories=["Home"] * 8, vectors=vectors_to_proto(vectors, "m@1"),
        dense_scores=[0.5] * 8, lexical_scores=[1.0] * 8,
    )  # fmt: skip


def request(**fields: Any) -> ranker_pb2.RankItemsRequest:
    return ranker_pb2.RankItemsRequest(user_id="u", candidates=candidates(), explain=True, **fields)


@asynccontextmanager
async def serving(folder: Path, ranker: RankerName = "weighted-sum", **version: Any) -> AsyncIterator[Stub]:
    """With a version that is promoted, and what ranks lists that it does not serve."""
    registry = ModelRegistry(folder / "models" / "default")
    name = registry.publish(partial(write_trees, likes=LIKES, **version), {})
    registry.take_step(StepKind.PROMOTED, name, lambda now: now.promoted(name))
    handler, server = build_handler(RankerSettings(data_dir=folder, ranker=ranker)), grpc.aio.server()
    ranker_pb2_grpc.add_RankerServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = ranker_pb2_grpc.RankerServiceStub(channel)
        click = event_pb2.Event(event_id="e", user_id="u", item_id="lamp0", type=event_pb2.EVENT_TYPE_CLICK)
        await stub.RecordEvents(ranker_pb2.RecordEventsRequest(events=[click], items=candidates()))
        yield stub
    await server.stop(None)
    handler.close()


async def test_a_version_of_trees_ranks(tmp_path: Path) -> None:
    """By its own score, with the probabilities of its curves; what is like the clicked lamp scores highest."""
    async with serving(tmp_path) as stub:
        answer = await stub.RankItems(request(**OF_PERSON))
    assert answer.model_version == "learned@0001"
    by_score = sorted(zip(answer.scores, answer.item_ids, strict=True), reverse=True)
    assert all(item_id.startswith("lamp") for _, item_id in by_score[:4])
    reported = {task.task: np.array(task.values) for task in answer.task_scores}
    assert list(reported) == ["relevance", *CURVES["person"]]
    # All but one are in stock: nothing is taken from their raw scores.
    in_stock = np.array(answer.item_ids) != "boot3"
    for task, (intercept, slope) in CURVES["person"].items():
        expected = 1 / (1 + np.exp(-(intercept + slope * reported["relevance"])))
        np.testing.assert_allclose(reported[task][in_stock], expected[in_stock], rtol=1e-5)
        assert reported[task][~in_stock] > expected[~in_stock]


async def test_tasks_only_where_there_are_curves(tmp_path: Path) -> None:
    """A kind of list without curves has the score alone."""
    async with serving(tmp_path) as stub:
        answer = await stub.RankItems(request(**OF_PRODUCT))
    assert answer.model_version == "learned@0001"
    assert [task.task for task in answer.task_scores] == ["relevance"]


@pytest.mark.parametrize("fields", [OF_PERSON, OF_PRODUCT, {}])
async def test_an_order_is_explained(tmp_path: Path, fields: dict[str, Any]) -> None:
    """Contributions add up to the score; the clicked lamp is named where the history raises it."""
    async with serving(tmp_path) as stub:
        answer = await stub.RankItems(request(**fields))
    history = ranker_pb2.ReasonType.Value("REASON_TYPE_RECENT_HISTORY")
    for item_id, score, entry in zip(answer.item_ids, answer.scores, answer.reasons, strict=True):
        assert entry.baseline + sum(reason.contribution for reason in entry.reasons) == pytest.approx(score, abs=1e-4)
        if item_id.startswith("lamp"):
            assert entry.reasons[0].type == history
            assert list(entry.reasons[0].history_item_ids) == ["lamp0"]


async def test_kinds_that_a_version_does_not_serve(tmp_path: Path) -> None:
    """The weighted sum ranks them and names itself."""
    async with serving(tmp_path, serves=("person",)) as stub:
        answers = [await stub.RankItems(request(**fields)) for fields in (OF_PERSON, OF_PRODUCT, {})]
    names = [answer.model_version.partition("@")[0] for answer in answers]
    assert names == ["learned", "weighted-sum", "weighted-sum"]
    assert all(entry.reasons for answer in answers for entry in answer.reasons)


async def test_a_baseline_chooses_no_candidates_for_trees(tmp_path: Path) -> None:
    """The trees rerank the best of the weighted sum; the baseline of the settings ranks the kinds that they leave."""
    names: tuple[RankerName, ...] = ("weighted-sum", "retrieval-order")
    orders: list[list[str]] = []
    for name in names:
        async with serving(tmp_path / name, name, reranked=4, serves=("person",)) as stub:
            answers = [await stub.RankItems(request(**fields)) for fields in (OF_PERSON, {})]
        assert [answer.model_version.partition("@")[0] for answer in answers] == ["learned", name]
        by_score = sorted(zip(answers[0].scores, answers[0].item_ids, strict=True), reverse=True)
        orders.append([item_id for _, item_id in by_score])
    assert orders[0] == orders[1]
    # One of the best four in the order of retrieval.
    assert "boot1" in orders[0][4:]


async def test_features_of_another_version_are_refused(tmp_path: Path) -> None:
    """The weighted sum answers; the error names the remedy."""
    async with serving(tmp_path, features_version=FEATURES_VERSION - 1) as stub:
        answer = await stub.RankItems(request(**OF_PERSON))
    assert answer.model_version.startswith("weighted-sum@")
    with pytest.raises(ValueError, match=r"these are \d+; train it again"):
        TreesRanker(tmp_path / "models" / "default" / "0001", by_shuffle, by_shuffle, "learned@0001")
