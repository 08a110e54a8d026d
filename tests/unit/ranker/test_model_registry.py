"""Versions, the pointer and the log on disk."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout, Stage, StepKind


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "models", clock=lambda: 7.0)


def publish(registry: ModelRegistry) -> str:
    def save(folder: Path) -> None:
        (folder / "weights").write_text("w")

    return registry.publish(save, {"note": "n"})


def promote(registry: ModelRegistry, version: str) -> None:
    registry.take_step(StepKind.PROMOTED, version, lambda now: now.promoted(version))


def test_versions_are_atomic(registry: ModelRegistry) -> None:
    """Versions are numbered in sequence and have a manifest; a failed save leaves no files."""
    assert [publish(registry), publish(registry)] == ["0001", "0002"]

    def fails(folder: Path) -> None:
        (folder / "half").write_text("h")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        registry.publish(fails, {})
    assert registry.versions() == ["0001", "0002"]
    assert registry.manifest("0002") == {"note": "n"}
    assert sorted(path.name for path in registry.folder.iterdir()) == ["0001", "0002"]


def test_each_step_is_logged(registry: ModelRegistry) -> None:
    """The log holds every step with its reason and figures, and the pointer equals the last step."""
    version = publish(registry)
    registry.take_step(StepKind.PROPOSED, version, reason="drift", figures={"log_loss": 0.5})
    registry.take_step(StepKind.SHARE, version, lambda now: now.with_share(version, 0.1))
    proposed, share = registry.steps()
    assert (proposed.kind, proposed.at_s, proposed.reason, proposed.figures) == (
        StepKind.PROPOSED, 7.0, "drift", {"log_loss": 0.5},
    )  # fmt: skip
    assert registry.rollout() == share.rollout == Rollout("", (), version, Stage.SHARE, 0.1, since_s=7.0)


def test_the_stamp_changes_with_the_pointer(registry: ModelRegistry) -> None:
    """A reader that checks only the stamp notices each new pointer."""
    stamps = [registry.stamp()]
    for _ in range(2):
        promote(registry, publish(registry))
        stamps.append(registry.stamp())
    assert stamps[0] is None
    assert len(set(stamps)) == 3
    assert registry.stamp() == stamps[-1]


def test_an_unknown_version(registry: ModelRegistry) -> None:
    """An unknown version cannot be promoted: the error lists the versions; the pointer and the log do not change."""
    promote(registry, publish(registry))
    with pytest.raises(ValueError, match="no version '0009'; there are 0001"):
        promote(registry, "0009")
    assert registry.rollout().current == "0001"
    assert len(registry.steps()) == 1


def test_an_interrupted_step(registry: ModelRegistry) -> None:
    """An incomplete log line of a killed process is removed; a pointer that it did not write is written."""
    for _ in range(2):
        promote(registry, publish(registry))
    log = registry.folder / "log.jsonl"
    log.write_bytes(log.read_bytes() + b'{"at_s": 7.0, "kind": "pro')
    (registry.folder / "rollout.json").write_text(
        '{"current": "0001", "before": [""], "other": null, "stage": null, "share": 0.0}'
    )
    assert [step.version for step in registry.steps()] == ["0001", "0002"]
    registry.repair()
    assert registry.rollout().current == "0002"
    promote(registry, "0001")
    assert [step.version for step in registry.steps()] == ["0001", "0002", "0001"]


def _share(folder: Path) -> None:
    registry = ModelRegistry(folder)
    for _ in range(20):
        registry.take_step(StepKind.SHARE, "0001", lambda now: now.with_share("0001", now.share + 0.001))


def test_writers_take_turns(registry: ModelRegistry) -> None:
    """Two processes that change the rollout at the same time lose no step."""
    publish(registry)
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_share, args=(registry.folder,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(20)
    assert len(registry.steps()) == 40
    assert registry.rollout().share == pytest.approx(0.04)


def test_an_evaluation_keeps_a_version_from_users(registry: ModelRegistry) -> None:
    """A version whose latest evaluation refused it gets no users, only shadow; a later evaluation lets it go on."""
    version = publish(registry)
    registry.take_step(StepKind.EVALUATED, version, reason="worse by 9 %", figures={"refused": True})
    registry.take_step(StepKind.SHADOW, version, lambda now: now.with_shadow(version))
    for kind in (StepKind.SHARE, StepKind.PROMOTED):
        with pytest.raises(ValueError, match="evaluation on the log refused it: worse by 9 %"):
            registry.take_step(kind, version, lambda now: now.promoted(version))
    assert registry.rollout().current == ""
    registry.take_step(StepKind.EVALUATED, version, figures={"refused": False})
    promote(registry, version)
    assert registry.rollout().current == version


def test_a_rollback_needs_no_evaluation(registry: ModelRegistry) -> None:
    """What is refused now may be what serves: a rollback to it goes through."""
    first, second = publish(registry), publish(registry)
    promote(registry, first)
    promote(registry, second)
    registry.take_step(StepKind.EVALUATED, first, reason="worse", figures={"refused": True})
    registry.take_step(StepKind.ROLLED_BACK, second, lambda now: now.rolled_back())
    assert registry.rollout().current == first
