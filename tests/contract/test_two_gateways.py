"""Two gateway processes over one suite: the second one continues the answers of the first, also after its death."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import grpc
import numpy as np
import pytest

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2_grpc
from kairos.retrieval.v1.retrieval_pb2 import RetrieveCandidatesRequest
from services.common.convert import vectors_from_proto, vectors_to_proto
from tests.contract.gateways import degradations, ids, positions, search, stages
from tests.fakes.stages import MODEL, FakeStages
from tests.fakes.waiting import until

__all__ = ["stages"]  # the fixture

# The processes have just started: their first calls are slow.
TIMEOUT_S = 5.0
Stub: TypeAlias = "gateway_pb2_grpc.GatewayServiceAsyncStub"


@asynccontextmanager
async def gateway(stages: FakeStages, config: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, Stub]]:
    """A process of its own. Killed in the end, if it was not before."""
    targets = {name: {"target": target} for name, target in stages.targets.items()}
    settings = json.dumps({"stages": targets, "server": {"port": 0}, "metrics": {"port": 0}})
    await asyncio.to_thread(config.write_text, settings)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway",
        env={**os.environ, "KAIROS_GATEWAY_CONFIG": str(config)}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async for line in process.stderr:
            if json.loads(line)["event"] == "listening":
                break
        async with grpc.aio.insecure_channel(f"127.0.0.1:{json.loads(line)['port']}") as channel:
            yield process, gateway_pb2_grpc.GatewayServiceStub(channel)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_after_the_death_of_the_first(stages: FakeStages, tmp_path: Path) -> None:
    """After SIGKILL of the first gateway the second one gives the same second pages, and knows the session."""
    async with (
        gateway(stages, tmp_path / "one.json") as (process, first),
        gateway(stages, tmp_path / "other.json") as (_, second),
    ):
        requests = [search(session_id="s"), search(sort=product_pb2.SORT_ORDER_NEWEST), search("")]
        expected = []
        for request in requests:
            answer = await first.Search(request, timeout=TIMEOUT_S)
            request.page_token = answer.next_page_token
            expected.append(ids(await first.Search(request, timeout=TIMEOUT_S)))
        await until(lambda: len(stages.ranker.rankings) >= len(requests))
        process.kill()
        await process.wait()
        for request, page in zip(requests, expected, strict=True):
            answer = await second.Search(request, timeout=TIMEOUT_S)
            assert (ids(answer), positions(answer), degradations(answer)) == (page, [6, 7, 8, 9, 10], [])
        stages.ranker.sessions["s"] = vectors_to_proto(np.array([[0, 1]], np.float32), MODEL)
        await second.Search(search("boots", session_id="s"), timeout=TIMEOUT_S)
    asked = [r for r in stages.retrieval.requests if isinstance(r, RetrieveCandidatesRequest)][-1]
    assert vectors_from_proto(asked.query_vectors, "vector").tolist() == [pytest.approx([2**-0.5, 2**-0.5])]
