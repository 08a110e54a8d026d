"""The host process writes the replicas of the applications into a file."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

from ops.replicas import publish, replicas_of
from services.common.replica_file import Replicas, read_replicas


def group(application: str, *ports: int, protocol: str = "gRPC", ip: str = "127.0.0.1") -> SimpleNamespace:
    """A target group as Serve describes it."""
    targets = [SimpleNamespace(name=f"replica {port}", ip=ip, port=port) for port in ports]
    return SimpleNamespace(app_name=application, protocol=protocol, targets=targets)


def test_only_grpc_ports_on_loopback_are_replicas() -> None:
    """HTTP ports, ports on another machine, and groups of no application, such as Serve's proxies, are left out."""
    groups = [
        group("ranker", 40_000, 40_001), group("ranker", 30_000, protocol="HTTP"), group("pricing"),
        group("retrieval", 40_002, ip="10.0.0.7"), group("", 9_000),
    ]  # fmt: skip
    ports = {"replica 40000": 40_000, "replica 40001": 40_001}
    assert replicas_of(groups) == {"ranker": ports, "pricing": {}, "retrieval": {}}


def test_the_file_follows_serve(tmp_path: Path) -> None:
    """Each change is written, and asked for with the last version; a controller that fails is asked again."""
    file, stop = tmp_path / "replicas.json", threading.Event()
    asked: list[int] = []
    written: list[Replicas] = []

    def listen(version: int) -> tuple[int, list[SimpleNamespace]] | None:
        asked.append(version)
        written.append(read_replicas(file))
        match len(asked):
            case 1:
                return 7, [group("ranker", 40_000)]
            case 2:
                raise ConnectionError("the controller restarts")
            case 3:
                return None
            case 4:
                return 9, [group("ranker")]
        stop.set()
        return 10, [group("ranker", 40_009)]

    publish(listen, file, stop, pause_s=0)
    one: Replicas = {"ranker": {"replica 40000": 40_000}}
    assert asked == [-1, 7, 7, 7, 9]
    assert written == [{}, one, one, one, {"ranker": {}}]
    assert read_replicas(file) == {"ranker": {}}
