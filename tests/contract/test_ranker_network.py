"""RankerService with a ranker network, over real gRPC, by protos/kairos/ranker/v1/ranker.proto."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import grpc
import numpy as np
import pytest

from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_to_proto
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler
from tests.unit.training.ranking_shop import DIMENSIONS, ITEMS, NOW_S, VERSION, WINDOW_S, shop_log
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings
from training.ranking.reading import ExampleReader
from training.ranking.training import Training

SETTINGS = NetworkSettings(DIMENSIONS, width=16, heads=2, experts=2, expert_sizes=(16, 8))
# In quotes: only the stubs' type files know this name.
Stub: TypeAlias = "ranker_pb2_grpc.RankerServiceAsyncStub"


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was trained on the shop."""
    folder = tmp_path_factory.mktemp("shop")
    store = shop_log(folder, lists=80)
    examples = ExampleReader(store, window_s=WINDOW_S).read(NOW_S)
    store.close()
    ranker = LearnableRanker(SETTINGS, Training(pages_per_step=8, learning_rate=1e-2), VERSION)
    ranker.update(examples, epochs=4)
    # Also those that the log never showed.
    ranker.reranked = len(ITEMS)
    ranker.save(folder / "0007")
    return folder / "0007"


@asynccontextmanager
async def serving(folder: Path, version: Path) -> AsyncIterator[Stub]:
    settings = RankerSettings(
        data_dir=folder, ranker="network", model_dir=version, objective_file=folder / "objective.yaml"
    )
    handler, server = build_handler(settings), grpc.aio.server()
    ranker_pb2_grpc.add_RankerServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield ranker_pb2_grpc.RankerServiceStub(channel)
    await server.stop(None)
    handler.close()


def candidates(model_version: str = VERSION, stocks: Sequence[int] = (-1,) * 12) -> retrieval_pb2.Candidates:
    return retrieval_pb2.Candidates(
        ids=[item.item_id for item in ITEMS], scores=[1 - n / 99 for n in range(12)], stocks=stocks,
        prices=[item.price for item in ITEMS], categories=[item.category for item in ITEMS],
        brands=[item.brand for item in ITEMS],
        vectors=vectors_to_proto(np.array([item.vector for item in ITEMS], np.float16), model_version),
    )  # fmt: skip


def ranking(model_version: str = VERSION, stocks: Sequence[int] = (-1,) * 12) -> ranker_pb2.RankItemsRequest:
    return ranker_pb2.RankItemsRequest(user_id="u", candidates=candidates(model_version, stocks), explain=True)


async def clicked(stub: Stub, *item_ids: str) -> None:
    events = [event_pb2.Event(event_id=id, user_id="u", item_id=id, type=event_pb2.EVENT_TYPE_CLICK) for id in item_ids]
    await stub.RecordEvents(ranker_pb2.RecordEventsRequest(events=events, items=candidates()))


def tasks(answer: ranker_pb2.RankItemsResponse) -> dict[str, list[float]]:
    return {task.task: list(task.values) for task in answer.task_scores}


async def test_each_task_is_reported(tmp_path: Path, version: Path) -> None:
    """Each item has a score and its probabilities of click, cart and purchase; the version is named."""
    async with serving(tmp_path, version) as stub:
        answer = await stub.RankItems(ranking())
    reported = tasks(answer)
    assert list(reported) == ["relevance", "click", "cart", "purchase"]
    worth = np.array(reported["click"]) + 3 * np.array(reported["cart"]) + 6 * np.array(reported["purchase"])
    assert list(answer.scores) == pytest.approx(worth.tolist(), rel=1e-5)
    assert list(answer.scores) == sorted(answer.scores, reverse=True)
    for click, cart, purchase in zip(reported["click"], reported["cart"], reported["purchase"], strict=True):
        assert 0 < purchase <= cart <= click < 1
    assert answer.model_version == "ranker@0007"


async def test_a_click_changes_the_next_ranking(tmp_path: Path, version: Path) -> None:
    """After clicks on lamps, lamps lead the next ranking."""
    async with serving(tmp_path, version) as stub:
        await clicked(stub, "lamp0", "lamp3", "lamp5")
        answer = await stub.RankItems(ranking())
    assert all(id.startswith("lamp") for id in list(answer.item_ids)[:4])


async def test_weights_change_without_a_restart(tmp_path: Path, version: Path) -> None:
    """A changed objective file applies to requests from a second later on."""
    async with serving(tmp_path, version) as stub:
        await stub.RankItems(ranking())
        (tmp_path / "objective.yaml").write_text("{click: 0, cart: 0, purchase: 1}")
        os.utime(tmp_path / "objective.yaml", (1, 1))
        deadline = 50
        # The file may be read while it is written.
        while list((after := await stub.RankItems(ranking())).scores) != pytest.approx(tasks(after)["purchase"]):
            deadline -= 1
            assert deadline
            await asyncio.sleep(0.1)  # between two requests


async def test_out_of_stock_items_fall(tmp_path: Path, version: Path) -> None:
    """An item out of stock keeps half of its score."""
    async with serving(tmp_path, version) as stub:
        answer = await stub.RankItems(ranking(stocks=[0] + [5] * 11))
    place, reported = list(answer.item_ids).index(ITEMS[0].item_id), tasks(answer)
    worth = reported["click"][place] + 3 * reported["cart"][place] + 6 * reported["purchase"][place]
    assert answer.scores[place] == pytest.approx(worth / 2, rel=1e-5)


async def test_vectors_of_another_model(tmp_path: Path, version: Path) -> None:
    """For vectors of another model the weighted sum ranks, names itself and gives its own reasons."""
    async with serving(tmp_path, version) as stub:
        answer = await stub.RankItems(ranking(model_version="m@2"))
    assert answer.model_version.startswith("weighted-sum@")
    assert list(tasks(answer)) == ["relevance"]
    reported = [
        (score, entry.baseline + sum(reason.contribution for reason in entry.reasons))
        for score, entry in zip(answer.scores, answer.reasons, strict=True)
        if entry.reasons
    ]
    assert reported
    assert [total for _, total in reported] == pytest.approx([score for score, _ in reported], abs=1e-5)
