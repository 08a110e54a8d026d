"""The samples in other languages do what they say, against a gateway."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from services.common.errors import Overloaded
from tests.contract.gateways import Running, running, stages
from tests.fakes.waiting import until
from tests.needed import needs

__all__ = ["running", "stages"]  # fixtures

ROOT = Path(__file__).parents[2]


async def run(command: Sequence[str], folder: Path, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.fixture
async def node_sample(tmp_path: Path) -> Path:
    """A copy with its packages."""
    needs("npm")
    folder = tmp_path / "node"
    shutil.copytree(ROOT / "samples" / "node", folder, ignore=shutil.ignore_patterns("node_modules"))
    await run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"], folder)
    return folder


async def test_node(running: Running, node_sample: Path) -> None:
    """It shows results and degradations, and sends its click again when the gateway says."""
    await running.stages.worsen("query_encoder", "down")
    ranker = running.stages.ranker

    async def refuse_the_first() -> None:
        await until(lambda: bool(ranker.rankings))
        ranker.refusal = Overloaded("full", 1.0)
        await until(lambda: any(hasattr(request, "events") for request in ranker.requests))
        ranker.refusal = None

    target = f"127.0.0.1:{running.gateway.port}"
    refusing = asyncio.create_task(refuse_the_first())
    command = ["node", "shop.js", "shoes"]
    printed = await run(command, node_sample, KAIROS_TARGET=target, KAIROS_PROTOS=str(ROOT / "protos"))
    await refusing
    assert "Search for shoes: 25 products" in printed
    assert "degraded: STAGE_QUERY_ENCODER" in printed
    assert "1. Product" in printed
    assert "Recorded 1 event, 0 known before" in printed
    sent = [request for request in ranker.requests if hasattr(request, "events")]
    assert [request.events[0].event_id for request in sent[1:]] == [sent[0].events[0].event_id]
