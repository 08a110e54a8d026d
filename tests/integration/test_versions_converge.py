"""kill -9 of gateway processes and of control during publishes: every answer names the snapshot that it was made with,
and soon after all are back every process names the newest one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from tests.integration.processes import Process, free_port, started, wait_for
from tests.integration.test_control_processes import Writer

# From when everything is back until all processes name the newest version.
_CONVERGED_S = 1.0
# Connections to a gateway. The kernel gives each to one of its processes: one of two has none once in 2,000 times.
_CONNECTIONS = 12
_NOWHERE = {stage: {"target": "127.0.0.1:1"} for stage in ("query_encoder", "retrieval", "ranker", "pricing")}


class Gateway(Process):
    """A gateway without stages: its answers are empty and name their version. `lines` is its log."""

    _log = subprocess.STDOUT

    def __init__(self, folder: Path, control_port: int, processes: int) -> None:
        self._port, self._metrics, config = free_port(), free_port(), folder / "gateway.yaml"
        folder.mkdir()
        settings = {
            "stages": _NOWHERE,
            "server": {"port": self._port, "processes": processes, "drain_s": 0},
            "metrics": {"port": self._metrics},
            "control": {"target": f"127.0.0.1:{control_port}", "folder": str(folder / "published")},
        }
        config.write_text(json.dumps(settings))
        super().__init__("services.gateway", KAIROS_GATEWAY_CONFIG=str(config))

    @property
    def begun(self) -> int:
        """How often one of its processes has begun to serve. Two processes may write to one line of the log."""
        return "".join(self.lines).count('"event": "listening"')

    def kill_worker(self) -> None:
        os.kill(min(child.pid for child in psutil.Process(self.pid).children()), signal.SIGKILL)

    def versions(self) -> Iterator[int]:
        """That of an answer over each of several new connections."""
        with ExitStack() as opened:
            options = [("grpc.use_local_subchannel_pool", 1)]
            for _ in range(_CONNECTIONS):
                channel = opened.enter_context(grpc.insecure_channel(f"127.0.0.1:{self._port}", options))
                search: Any = gateway_pb2_grpc.GatewayServiceStub(channel).Search
                yield search(gateway_pb2.SearchRequest(query="lamp"), timeout=10, wait_for_ready=True).snapshot_version

    def least_version(self) -> float:
        """Of all its processes, as its metrics say."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return min(s.value for f in families for s in f.samples if s.name == "kairos_gateway_snapshot_version")


@contextmanager
def publishing(target: str) -> Iterator[Writer]:
    writer = Writer(target)
    try:
        yield writer
    finally:
        writer.stop()
        writer.close()


def serves(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)  # type: ignore[attr-defined]
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def test_versions_converge(tmp_path: Path) -> None:
    """After each kill: within a second of everything being back, all processes of both gateways name a version that is
    not older than the newest one that was acknowledged then; with control down they serve on. In the end all name the
    newest one.
    """
    port = free_port()
    environment = {
        "KAIROS_CONTROL_DATA_DIR": str(tmp_path / "control"),
        "KAIROS_CONTROL_SERVER__PORT": str(port),
        "KAIROS_CONTROL_METRICS__PORT": "0",
    }
    with (
        started(Process("services.control", **environment)) as control,
        started(Gateway(tmp_path / "two", port, processes=2)) as two,
        started(Gateway(tmp_path / "one", port, processes=1)) as one,
        publishing(f"127.0.0.1:{port}") as writer,
    ):
        gateways, begun = (two, one), {two: 2, one: 1}

        def least() -> int:
            return min(version for gateway in gateways for version in gateway.versions())

        def converge() -> None:
            wait_for(lambda: serves(port) and all(gateway.begun >= times for gateway, times in begun.items()))
            newest = max(writer.published.values())
            time.sleep(_CONVERGED_S)
            assert least() >= newest

        def kill_worker() -> None:
            two.kill_worker()  # its parent starts it again
            begun[two] += 1

        def restart_control() -> None:
            control.kill()
            assert least() > 0
            control.start()

        def restart_gateway() -> None:
            one.kill()
            one.start()
            begun[one] += 1

        wait_for(partial(writer.has_published, 1))
        converge()
        for victims in ([kill_worker], [restart_control], [restart_gateway], [kill_worker, restart_control]):
            wait_for(partial(writer.has_published, len(writer.published) + 3))
            for kill in victims:
                kill()
            converge()
        writer.stop()
        last = max(writer.published.values())
        wait_for(lambda: {version for gateway in gateways for version in gateway.versions()} == {last})
        wait_for(lambda: two.least_version() == last)
