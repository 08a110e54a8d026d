"""Several processes: kill -9 of control, its PostgreSQL and a watcher during publishes, and two controls over one
database. Nothing that was acknowledged is lost or doubled.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc
import pytest
from pydantic import SecretStr

from kairos.control.v1 import control_pb2, control_pb2_grpc
from services.control.settings import ApiKey
from tests.contract.controls import Client, digest_of, reference_to, resource_of, running
from tests.integration.postgres_server import PostgresServer
from tests.integration.processes import Process, free_port, started, wait_for

KIND = control_pb2.RESOURCE_KIND_SYNONYM_SET


class Writer:
    """Creates and publishes one resource after the other. It repeats a call until it is acknowledged."""

    def __init__(self, target: str) -> None:
        options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 200)]
        self._channel = grpc.insecure_channel(target, options)
        self.stub = control_pb2_grpc.ControlServiceStub(self._channel)
        self.published: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def has_published(self, count: int) -> bool:
        return len(self.published) >= count

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def close(self) -> None:
        self._channel.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            id = f"r{len(self.published)}"
            created = self._until_acknowledged(partial(self._create, id))
            assert created
            self.published[id] = self._until_acknowledged(partial(self._publish, id))

    def _until_acknowledged(self, call: Callable[[], int]) -> int:
        while True:
            try:
                return call()
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                time.sleep(0.02)  # before the same call again

    def _create(self, id: str) -> int:
        sent = resource_of("synonym_set", id, {"words": [id, "same"]})
        try:
            self.stub.CreateResource(control_pb2.CreateResourceRequest(resource=sent), timeout=2)
        except grpc.RpcError as error:
            # The lost answer of the call before.
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
        return 1

    def _publish(self, id: str) -> int:
        found = self.stub.GetResource(control_pb2.GetResourceRequest(kind=KIND, id=id), timeout=2).resource
        request = control_pb2.PublishResourcesRequest(resources=[reference_to(found)])
        return int(self.stub.PublishResources(request, timeout=2).snapshot_version)


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_nothing_acknowledged_is_lost_or_doubled(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Each resource was created once and published once, snapshots have no gap, and the watcher has the last one."""
    port = free_port()
    environment = {
        "KAIROS_CONTROL_DATA_DIR": str(tmp_path / "control"),
        "KAIROS_CONTROL_SERVER__PORT": str(port),
        "KAIROS_CONTROL_METRICS__PORT": "0",
    }
    server: PostgresServer | None = None
    if engine == "postgresql":
        server = request.getfixturevalue("postgres_server")
        environment["KAIROS_CONTROL_DATABASE_URL"] = server.database()
    target = f"127.0.0.1:{port}"
    watched = ("tests.integration.published_watcher", target, str(tmp_path / "published"))
    with started(Process("services.control", **environment)) as control, started(Process(*watched)) as watcher:
        writer = Writer(target)
        try:
            victims: list[Process | PostgresServer] = [control, watcher, *([server] if server else []), control]
            for victim in victims:
                wait_for(partial(writer.has_published, len(writer.published) + 5))
                victim.kill()
                victim.start()
            wait_for(partial(writer.has_published, len(writer.published) + 5))
        finally:
            writer.stop()
        last = max(writer.published.values())
        expected = f"{last} {len(writer.published)}"
        wait_for(lambda: expected in watcher.lines)
        made = list[int]()
        for id in writer.published:
            asked = control_pb2.ListRevisionsRequest(kind=KIND, id=id)
            history = writer.stub.ListRevisions(asked, timeout=10).revisions
            assert [revision.action for revision in history] == [
                control_pb2.REVISION_ACTION_PUBLISHED, control_pb2.REVISION_ACTION_CREATED,
            ]  # fmt: skip
            made.append(history[0].snapshot_version)
        assert made == list(range(1, last + 1))
        assert list(writer.published.values()) == made
        # Killed once more, with control down: it begins with the snapshot that it had.
        control.kill()
        watcher.kill()
        watcher.lines.clear()
        watcher.start()
        wait_for(lambda: "loaded" in watcher.lines)
        assert watcher.lines[0] == expected
        writer.close()


async def test_processes_over_one_database_see_each_other(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """What one control publishes, a watcher of another one gets; a key that one publishes is in force at the other."""
    url = SecretStr(postgres_server.database())
    root = ApiKey(sha256=digest_of("root"), name="root", tenant="*", role="admin")
    async with running(tmp_path, root, database_url=url) as one, running(tmp_path, root, database_url=url) as other:
        publisher, watcher, anna = Client(one.port, "root"), Client(other.port, "root"), Client(other.port, "anna")
        key = {"name": "anna", "sha256": digest_of("anna"), "role": "viewer"}
        await publisher.publish(await publisher.create("tenant", "default", {"keys": [key]}))
        stream = watcher.watch().__aiter__()
        assert (await anext(stream)).snapshot.version == 1
        assert (await anext(anna.watch().__aiter__())).snapshot.version == 1
        await publisher.publish(await publisher.create("synonym_set", "coats"))
        assert (await anext(stream)).snapshot.version == 2
        for client in (publisher, watcher, anna):
            await client.channel.close()
