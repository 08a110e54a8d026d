"""Several gateway processes on one port, as `python -m services.gateway` starts them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from tests.fakes.waiting import until

NOWHERE = {stage: {"target": "127.0.0.1:1"} for stage in ("query_encoder", "retrieval", "ranker", "pricing")}
START_S = 60


@dataclass
class Processes:
    """A parent that has been started. `listening` counts the times that a worker has begun to serve."""

    parent: asyncio.subprocess.Process
    metrics: str
    port: int = 0
    listening: int = 0

    async def until_listening(self, times: int) -> None:
        assert self.parent.stderr is not None
        async with asyncio.timeout(START_S):
            while self.listening < times:
                line = json.loads(await self.parent.stderr.readline())
                if line["event"] == "listening":
                    self.port, self.listening = line["port"], self.listening + 1

    async def search(self) -> int:
        """The number of degradations of an answer, over a connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}", options) as channel:
            stub: gateway_pb2_grpc.GatewayServiceAsyncStub = gateway_pb2_grpc.GatewayServiceStub(channel)
            return len((await stub.Search(gateway_pb2.SearchRequest(query="lamp"), timeout=10)).degradations)

    def workers(self) -> set[int]:
        return {child.pid for child in psutil.Process(self.parent.pid).children()}

    def searches(self) -> float:
        """As the parent's metrics count them; every gauge has one value."""
        with urllib.request.urlopen(self.metrics, timeout=10) as answer:
            samples = [
                sample for family in text_string_to_metric_families(answer.read().decode()) for sample in family.samples
            ]
        assert not [sample for sample in samples if "pid" in sample.labels]
        return sum(
            sample.value
            for sample in samples
            if sample.name == "kairos_gateway_requests_total" and sample.labels["method"] == "Search"
        )


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics = free.getsockname()[1]
    config = tmp_path / "gateway.yaml"
    settings = {"stages": NOWHERE, "server": {"port": 0, "processes": 2, "drain_s": 1}, "metrics": {"port": metrics}}
    config.write_text(json.dumps(settings))
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway",
        env={**os.environ, "KAIROS_GATEWAY_CONFIG": str(config)}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    started = Processes(parent, f"http://127.0.0.1:{metrics}/metrics")
    try:
        yield started
    finally:
        if parent.returncode is None:
            parent.terminate()
            assert parent.stderr is not None
            await parent.stderr.read()
            await parent.wait()


async def test_two_processes_serve_one_port(processes: Processes) -> None:
    """One of them is killed: new connections are served by the other one until it is back. The metrics count the calls
    of both; SIGTERM ends all.
    """
    await processes.until_listening(2)
    assert [await processes.search() > 0 for _ in range(10)] == [True] * 10
    before = processes.workers()
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    await until(lambda: killed not in processes.workers())
    assert [await processes.search() > 0 for _ in range(5)] == [True] * 5
    await processes.until_listening(3)
    after = processes.workers()
    assert len(after) == 2
    assert after & before == before - {killed}
    assert [await processes.search() > 0 for _ in range(5)] == [True] * 5
    assert processes.searches() == 20
    processes.parent.terminate()
    assert processes.parent.stderr is not None
    rest = await processes.parent.stderr.read()
    assert await processes.parent.wait() == 0, rest.decode()
    assert not [pid for pid in after if psutil.pid_exists(pid)]
