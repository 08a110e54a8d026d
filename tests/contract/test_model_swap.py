"""Versions of the ranker are switched under requests, over real gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_to_proto
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler
from tests.unit.ranker.trees_folders import write_trees
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings

DIMENSIONS = 4
POLL_S = 0.02
SWITCHES = 12
BUILT_IN = "weighted-sum@3"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry of the tenant `default` with a small network and boosted trees, none of them promoted."""
    root = tmp_path_factory.mktemp("models")
    network = LearnableRanker(NetworkSettings(DIMENSIONS), vector_version="m@1", seed=1)
    for save in (network.save, write_trees):
        ModelRegistry(root / "default").publish(save, {})
    return root


@asynccontextmanager
async def serving(models: Path, folder: Path) -> AsyncIterator[ranker_pb2_grpc.RankerServiceStub]:
    settings = RankerSettings(data_dir=folder, registry_dir=models, registry_poll_s=POLL_S)
    handler, server = build_handler(settings), grpc.aio.server()
    ranker_pb2_grpc.add_RankerServiceServicer_to_server(handler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield ranker_pb2_grpc.RankerServiceStub(channel)
    await server.stop(None)
    handler.close()


def request(version: str = "m@1") -> ranker_pb2.RankItemsRequest:
    vectors = np.eye(DIMENSIONS, dtype=np.float16)
    candidates = retrieval_pb2.Candidates(
        ids=[f"i{n}" for n in range(DIMENSIONS)], scores=[1.0, 0.9, 0.8, 0.7], prices=[9.0] * 4, stocks=[-1] * 4,
        vectors=vectors_to_proto(vectors, version),
    )  # fmt: skip
    return ranker_pb2.RankItemsRequest(user_id="u", candidates=candidates)


def promote(registry: ModelRegistry, version: str) -> None:
    registry.take_step(StepKind.PROMOTED, version, lambda now: now.promoted(version))


async def answered_by(stub: ranker_pb2_grpc.RankerServiceStub, name: str) -> bool:
    """Whether a new request is answered by that version, within seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if (await stub.RankItems(request())).model_version == name:  # type: ignore[misc]
            return True
    return False


async def test_no_request_is_lost_while_versions_are_switched(models: Path, tmp_path: Path) -> None:
    """None of the requests fails, and whatever begins after an answer came is of its version or of a later one."""
    registry, answers = ModelRegistry(models / "default"), list[tuple[float, float, str]]()
    async with serving(models, tmp_path) as stub:
        stop = asyncio.Event()

        async def ask_on_and_on() -> None:
            while not stop.is_set():
                began = time.monotonic()
                answer = await stub.RankItems(request())  # type: ignore[misc]
                answers.append((began, time.monotonic(), answer.model_version))
                assert sorted(answer.item_ids) == [f"i{n}" for n in range(DIMENSIONS)]

        callers = [asyncio.create_task(ask_on_and_on()) for _ in range(8)]
        switched = [BUILT_IN]
        for number in range(SWITCHES):
            version = ("0001", "0002")[number % 2]
            await asyncio.to_thread(promote, registry, version)
            switched.append(f"learned@{version}")
            assert await answered_by(stub, switched[-1])
        stop.set()
        await asyncio.gather(*callers)
    # Versions come back: an answer's place in the sequence is the earliest that its own beginning allows.
    place, latest = 0, list[tuple[float, int]]()
    for began, ended, version in sorted(answers):
        place = max((at for end, at in latest if end <= began), default=0)
        found = next((at for at in range(place, len(switched)) if switched[at] == version), None)
        assert found is not None, f"{version} after {switched[place]}"
        latest.append((ended, found))
    assert {version for _, _, version in answers} == set(switched)


async def test_vectors_of_another_model(models: Path, tmp_path: Path) -> None:
    """Candidates that a network does not understand are ranked by the scoring function, and the answer says so."""
    registry = ModelRegistry(models / "default")
    promote(registry, "0001")
    async with serving(models, tmp_path) as stub:
        assert await answered_by(stub, "learned@0001")
        other = await stub.RankItems(request("m@2"))  # type: ignore[misc]
        assert other.model_version == BUILT_IN
