"""What control publishes reaches a gateway, which serves on without control and refuses what it cannot use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from kairos.control.v1 import control_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.control_access import ControlAccessSettings
from services.common.errors import InvalidArgument
from services.common.published import PublishedMetrics, PublishedSnapshots
from services.control.server import ControlServer
from services.control.settings import ApiKey
from tests.contract.controls import Client, digest_of, key_of, resource_of, running
from tests.contract.gateways import BUDGET_S, Running, running_gateway, stages
from tests.fakes.stages import FakeStages
from tests.fakes.waiting import until

__all__ = ["stages"]  # a fixture

# A publish is everywhere within a second; a busy machine may take longer.
SOON_S = 5.0
KINDS = (control_pb2.RESOURCE_KIND_SYNONYM_SET,)


@dataclass
class Watcher:
    """Follows control, and refuses snapshots with the word "refused"."""

    settings: ControlAccessSettings
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    seen: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        metrics = PublishedMetrics(self.registry, "test")
        self.published = PublishedSnapshots(self.settings, KINDS, [self._prepare], metrics)

    def refused(self) -> float | None:
        return self.registry.get_sample_value("test_refused_snapshots_total")

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        self.published.load()
        task = asyncio.create_task(self.published.follow())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        for resource in snapshot.resources:
            if "refused" in resource.synonym_set.words:
                raise InvalidArgument.of("words", "has a word that is refused")
        return lambda: self.seen.append((snapshot.tenant, snapshot.version))


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlServer]:
    async with running(tmp_path / "control") as started:
        yield started


@pytest.fixture
async def client(control: ControlServer) -> AsyncIterator[Client]:
    made = Client(control.port)
    yield made
    await made.channel.close()


def access(port: int, folder: Path, **more: Any) -> ControlAccessSettings:
    return ControlAccessSettings(target=f"127.0.0.1:{port}", folder=folder, **more)


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        await until(condition)


async def test_a_watcher_starts_from_its_disk(control: ControlServer, client: Client, tmp_path: Path) -> None:
    """What was received once is there after a restart with control down, of every tenant."""
    watcher = Watcher(access(control.port, tmp_path / "published"))
    async with watcher.following():
        await client.publish(await client.create("synonym_set", "coats"))
        await client.publish(await client.create("synonym_set", "coats", tenant="other"), tenant="other")
        await soon(lambda: watcher.published.versions == {"default": 1, "other": 1})
    alone = Watcher(access(1, tmp_path / "published"))
    async with alone.following():
        assert alone.published.versions == {"default": 1, "other": 1}
        assert sorted(alone.seen) == [("default", 1), ("other", 1)]


async def test_what_cannot_be_used_is_refused(control: ControlServer, client: Client, tmp_path: Path) -> None:
    """The snapshot before it stays, in memory and on disk; the next good one is used."""
    settings = access(control.port, tmp_path / "published")
    watcher = Watcher(settings)
    async with watcher.following():
        await client.publish(await client.create("synonym_set", "coats"))
        await soon(lambda: watcher.published.versions == {"default": 1})
        bad = await client.create("synonym_set", "bad", {"words": ["refused", "x"]})
        await client.publish(bad)
        await soon(lambda: watcher.refused() == 1)
        assert watcher.published.versions == {"default": 1}
        again = Watcher(settings)
        again.published.load()
        assert again.published.versions == {"default": 1}
        found = control_pb2.GetResourceRequest(kind=bad.kind, id="bad")
        etag = (await client.call("GetResource", found)).resource.etag
        sent = resource_of("synonym_set", "bad", {"words": ["good", "x"]}, etag)
        request = control_pb2.UpdateResourceRequest(resource=sent)
        await client.publish((await client.call("UpdateResource", request)).resource)
        await soon(lambda: watcher.published.versions == {"default": 3})


@pytest.mark.parametrize("content", [b"\xff\xff", b"", control_pb2.Snapshot(tenant="../x").SerializeToString()])
async def test_a_broken_file_is_left_out(
    control: ControlServer, client: Client, tmp_path: Path, content: bytes
) -> None:
    """A watcher starts with a file that it cannot read, and replaces it by what control sends."""
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "default.snapshot").write_bytes(content)
    watcher = Watcher(access(control.port, folder))
    async with watcher.following():
        await client.publish(await client.create("synonym_set", "coats"))
        await soon(lambda: watcher.published.versions.get("default") == 1)


async def test_a_watcher_needs_its_key(tmp_path: Path) -> None:
    """Without a key nothing comes and the process goes on; with one it gets the snapshots of the key's tenant."""
    key = ApiKey(sha256=digest_of("watcher"), name="watcher", tenant="default", role="viewer")
    admin = ApiKey(sha256=digest_of("admin"), name="admin", tenant="*", role="admin")
    async with running(tmp_path / "control", key, admin) as control:
        client = Client(control.port, "admin")
        await client.publish(await client.create("synonym_set", "coats"))
        await client.publish(await client.create("synonym_set", "coats", tenant="other"), tenant="other")
        stranger = Watcher(access(control.port, tmp_path / "a"))
        watcher = Watcher(access(control.port, tmp_path / "b", api_key=key_of("watcher")))
        async with stranger.following(), watcher.following():
            await soon(lambda: watcher.published.versions == {"default": 1})
        assert stranger.published.versions == {}
        await client.channel.close()


async def test_a_watcher_finds_a_control_that_is_back(tmp_path: Path) -> None:
    """After a restart of control the next publish arrives within a second."""
    async with running(tmp_path / "control") as control:
        port, client = control.port, Client(control.port)
        watcher = Watcher(access(port, tmp_path / "published"))
        await client.publish(await client.create("synonym_set", "coats"))
        following = watcher.following()
        await following.__aenter__()
        await soon(lambda: watcher.published.versions == {"default": 1})
        await client.channel.close()
    async with running(tmp_path / "control", port=port):
        client = Client(port)
        await client.publish(await client.create("synonym_set", "hats", {"words": ["hat", "cap"]}))
        await soon(lambda: watcher.published.versions == {"default": 2})
        await client.channel.close()
    await following.__aexit__(None, None, None)


async def recommended(gateway: Running, placement: str = "") -> gateway_pb2.RecommendResponse:
    request = gateway_pb2.RecommendRequest(placement=placement, user_id="u")
    return await gateway.stub.Recommend(request, timeout=BUDGET_S)


async def test_published_rules_and_synonyms(
    control: ControlServer, client: Client, stages: FakeStages, tmp_path: Path
) -> None:
    """A gateway applies them within a second, and names their version."""
    pin = {"trigger": {"queries": [{"equals": "coat"}]}, "actions": [{"pin": {"product_id": "p3", "position": 1}}]}
    async with running_gateway(stages, control=access(control.port, tmp_path / "published")) as gateway:
        await client.publish(await client.create("merchandising_rule", "first", pin))
        words = {"words": ["coat", "parka"], "locale": "en"}
        await client.publish(await client.create("synonym_set", "coats", words))
        await soon(lambda: gateway.metric("snapshot_version", tenant="default") == 2)
        answer = await gateway.stub.Search(gateway_pb2.SearchRequest(query="coats"), timeout=SOON_S)
        assert answer.results[0].product.id == "p3"
        assert [one.id for one in answer.merchandising.applied_rules] == ["first", "synonyms:coats"]
        assert answer.merchandising.rules_version == "control-2"


async def test_answers_name_their_snapshot(
    control: ControlServer, client: Client, stages: FakeStages, tmp_path: Path
) -> None:
    """A published placement is served within a second; searches and recommendations name the snapshot; it stays in use
    after a restart of the gateway with control down.
    """
    settings = access(control.port, tmp_path / "published")
    content = {"version": "spring", "placements": {"footer": {"sources": [{"source": "popular"}]}}}
    async with running_gateway(stages, control=settings) as gateway:
        before = await recommended(gateway)
        assert (before.snapshot_version, before.placement) == (0, "home")
        await client.publish(await client.create("serving_configuration", "spring", content))
        await soon(lambda: gateway.metric("snapshot_version", tenant="default") == 1)
        answer = await recommended(gateway, "footer")
        assert answer.snapshot_version == 1
        assert answer.serving_configuration_version.startswith("spring+")
        assert (await recommended(gateway)).placement == "home"
        found = await gateway.within_budget(gateway_pb2.SearchRequest(query="coat"))
        assert found.snapshot_version == 1
    async with running_gateway(stages, control=access(1, tmp_path / "published")) as gateway:
        answer = await recommended(gateway, "footer")
        assert (answer.placement, answer.snapshot_version) == ("footer", 1)
