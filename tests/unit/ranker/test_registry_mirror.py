"""A registry on an object store: fsspec's file systems in memory and on the disk stand for one."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest

from services.common.models.registry import ModelRegistry
from services.common.models.registry_mirror import (
    LEASE_S,
    MirroredRegistry,
    RemoteRegistry,
    pull_tenants,
    registry_at,
)
from services.common.models.rollout import Rollout, StepKind

ABOUT = {"created_s": 7.0}


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file":
        yield f"file://{tmp_path}/store"
        return
    name = f"/{uuid.uuid4().hex}"
    yield f"memory:/{name}"
    files = fsspec.filesystem("memory")
    if files.exists(name):
        files.rm(name, recursive=True)


def filled(text: str) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / "weights").write_text(text)
        (folder / "curves").mkdir()
        (folder / "curves" / "loss").write_text("1")

    return fill


def promoted(registry: ModelRegistry, text: str) -> str:
    version = registry.publish(filled(text), ABOUT)
    registry.take_step(StepKind.PROMOTED, version, lambda now: now.promoted(version))
    return version


def test_what_one_writer_publishes_all_others_see(url: str, tmp_path: Path) -> None:
    """Versions of two writers get different numbers, both see the same log, and the pointer is the last step's."""
    one, other = (MirroredRegistry(tmp_path / name, url) for name in ("one", "other"))
    assert promoted(one, "first") == "0001"
    assert promoted(other, "second") == "0002"
    one.refresh()
    assert one.rollout() == other.rollout()
    assert (one.rollout().current, one.rollout().before) == ("0002", ("", "0001"))
    assert [step.version for step in one.steps()] == ["0001", "0002"]
    assert (one.path("0002") / "weights").read_text() == "second"
    assert (one.path("0002") / "curves" / "loss").read_text() == "1"
    one.prune(1)
    other.take_step(StepKind.ROLLED_BACK, "0002", lambda now: now.rolled_back())
    one.refresh()
    assert one.rollout().current == "0001"


def test_a_reader_has_what_serves(url: str, tmp_path: Path) -> None:
    """A ranker gets the versions that the pointers of all tenants name, of both kinds of models, and no others."""
    names = (("shop",), ("shop", "shopper"), ("other", "shopper"))
    for each in names:
        registry = registry_at(tmp_path / "writer", url, *each)
        promoted(registry, "old")
        promoted(registry, "/".join(each))
    root = tmp_path / "reader"
    pull_tenants(root, url, ("", "shopper"))
    for each in names:
        mirrored = ModelRegistry(root.joinpath(*each))
        assert mirrored.rollout().current == "0002"
        assert mirrored.versions() == ["0002"]
        assert (mirrored.path("0002") / "weights").read_text() == "/".join(each)
    stamp = ModelRegistry(root / "shop").stamp()
    pull_tenants(root, url, ("", "shopper"))
    assert ModelRegistry(root / "shop").stamp() == stamp


def test_a_reader_keeps_what_serves_and_the_version_before(url: str, tmp_path: Path) -> None:
    """A mirror does not grow with each version that has served."""
    registry, root = registry_at(tmp_path / "writer", url, "shop", "text"), tmp_path / "reader"
    for _ in range(4):
        promoted(registry, "weights")
        pull_tenants(root, url, ("text",))
    mirrored = ModelRegistry(root / "shop" / "text")
    assert mirrored.versions() == ["0003", "0004"]
    assert registry.versions() == ["0001", "0002", "0003", "0004"]


def test_a_mirror_of_everything_keeps_what_the_store_has(url: str, tmp_path: Path) -> None:
    """What another writer has pruned goes; a reader of the same folder removes nothing from it."""
    one, other = (registry_at(tmp_path / name, url, "shop", "text") for name in ("one", "other"))
    for _ in range(4):
        promoted(one, "weights")
    pull_tenants(tmp_path / "one", url, ("text",))
    other.repair()
    assert one.versions() == other.versions() == ["0001", "0002", "0003", "0004"]
    one.take_step(StepKind.ROLLED_BACK, "0004", lambda now: Rollout(now.current))
    one.prune(1)
    unfinished = ModelRegistry(other.folder).publish(filled("not uploaded yet"), ABOUT)
    other.repair()
    assert other.versions() == [*one.versions(), unfinished] == ["0004", "0005"]


def test_an_upload_that_was_killed_is_not_seen(url: str, tmp_path: Path) -> None:
    """A version without its manifest is none; its number is used again, without the files that were there."""
    registry = MirroredRegistry(tmp_path / "one", url)
    files, root = fsspec.core.url_to_fs(url)
    files.makedirs(f"{root}/0001", exist_ok=True)
    files.pipe_file(f"{root}/0001/left-over", b"half")
    registry.refresh()
    assert registry.versions() == []
    assert promoted(registry, "whole") == "0001"
    assert not files.exists(f"{root}/0001/left-over")


def test_a_step_that_did_not_reach_the_store_was_not_taken(url: str, tmp_path: Path) -> None:
    """What a writer logged in its mirror before it died is replaced by what the store has."""
    registry = MirroredRegistry(tmp_path / "one", url)
    promoted(registry, "first")
    ModelRegistry(tmp_path / "one").take_step(StepKind.ROLLED_BACK, "0001", lambda now: now.rolled_back())
    registry.repair()
    assert registry.rollout().current == "0001"
    assert [step.kind for step in registry.steps()] == [StepKind.PROMOTED]


def test_a_dead_writer_holds_others_up_only_for_a_time(url: str) -> None:
    """A lease that has ended is taken over."""
    now_s = [0.0]
    remote = RemoteRegistry(url, lambda: now_s[0])
    files, root = fsspec.core.url_to_fs(url)
    files.makedirs(root, exist_ok=True)
    files.pipe_file(f"{root}/lease.json", json.dumps({"owner": "dead", "until_s": LEASE_S}).encode())
    now_s[0] = LEASE_S + 1
    with remote.lease():
        assert json.loads(files.cat_file(f"{root}/lease.json"))["owner"] != "dead"
    assert not files.exists(f"{root}/lease.json")
