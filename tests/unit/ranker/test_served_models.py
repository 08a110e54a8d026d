"""The served versions follow the registry's pointer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from services.common.arrays import FloatArray
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout, StepKind
from services.common.models.shadow import agreement
from services.ranker.domain.profile import Profile
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.scores import Scores
from services.ranker.models.served import Served
from services.ranker.models.served_models import ServedModels

REQUEST = RankingRequest(
    item_ids=["a", "b", "c"], retrieval_scores=np.ones(3, np.float32), vectors=np.eye(3, dtype=np.float32),
    prices=np.ones(3, np.float32), stocks=np.ones(3, np.float32), popularity=np.zeros(3, np.float32), query=None,
    profile=Profile((), np.zeros((0, 3), np.float32), np.zeros(0, np.float32)), categories=[""] * 3, brands=[""] * 3,
)  # fmt: skip


def scores(*values: float) -> Scores:
    return Scores(np.array(values, np.float32))


@dataclass
class Shelf:
    """A registry of one tenant, the models loaded from it, and the reported counts."""

    root: Path
    broken: set[str] = field(default_factory=set)
    rankers: dict[str, Callable[[RankingRequest], Scores]] = field(default_factory=dict)
    reported: list[tuple[str, dict[str, float]]] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.root / "t")

    def publish(self, *values: float) -> str:
        version = self.registry.publish(lambda folder: None, {})
        self.rankers[version] = lambda request: scores(*values)
        return version

    def point(self, change: Callable[[Rollout], Rollout], version: str = "") -> None:
        self.registry.take_step(StepKind.PROMOTED, version, change)

    def load(self, folder: Path) -> Callable[[RankingRequest], Scores]:
        self.loaded.append(folder.name)
        if folder.name in self.broken:
            raise OSError("the file is damaged")
        return lambda request: self.rankers[folder.name](request)

    def report(self, tenant: str, trial: str, counts: Mapping[str, float]) -> None:
        self.reported.append((tenant, dict(counts)))

    def total(self, name: str) -> float:
        return sum(counts.get(name, 0.0) for _, counts in self.reported)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def serving(shelf: Shelf) -> Iterator[ServedModels]:
    built_in = Served("", "weighted-sum@2", lambda request: scores(0, 0, 1))
    # Looked at by hand.
    models = ServedModels(shelf.root, shelf.load, built_in, shelf.report, poll_s=3_600, shadow_sample=1.0)
    yield models
    models.close()


def test_without_a_pointer_the_settings_rank(serving: ServedModels, shelf: Shelf) -> None:
    """Tenants without a registry or with an empty one get the scoring function of the settings."""
    shelf.publish(1, 0, 0)
    serving.refresh()
    for tenant in ("t", "other"):
        found, name = serving.rank(tenant, "u", REQUEST)
        assert (found.total.tolist(), name) == ([0, 0, 1], "weighted-sum@2")
    assert shelf.loaded == []


def test_a_new_pointer_is_followed(serving: ServedModels, shelf: Shelf) -> None:
    """The promoted version serves; each version is loaded once, for as long as it is needed."""
    first, second = shelf.publish(1, 0, 0), shelf.publish(0, 1, 0)
    names = []
    for change in (lambda now: now.promoted(first), lambda now: now.promoted(second, 0.1), lambda now: now.alone()):
        shelf.point(change)
        serving.refresh()
        serving.refresh()
        names.append(serving.rank("t", "", REQUEST)[1])
    assert names == ["learned@0001", "learned@0002", "learned@0002"]
    assert shelf.loaded == ["0001", "0002"]


def test_a_version_that_cannot_be_loaded(serving: ServedModels, shelf: Shelf) -> None:
    """A damaged version changes nothing, and the next pointer is followed."""
    good, damaged, better = shelf.publish(1, 0, 0), shelf.publish(0, 1, 0), shelf.publish(0, 1, 1)
    shelf.broken = {damaged}
    for version, answers in ((good, good), (damaged, good), (better, better)):
        shelf.point(lambda now, version=version: now.promoted(version))  # type: ignore[misc]
        serving.refresh()
        assert serving.rank("t", "u", REQUEST)[1] == f"learned@{answers}"


def test_a_challenger_that_cannot_be_loaded(shelf: Shelf) -> None:
    """After a start the current version serves without its damaged challenger, whose trial counts an error."""
    current, damaged = shelf.publish(1, 0, 0), shelf.publish(0, 1, 0)
    shelf.broken = {damaged}
    shelf.point(lambda now: now.promoted(current).with_share(damaged, 1.0))
    built_in = Served("", "weighted-sum@2", lambda request: scores(0, 0, 1))
    models = ServedModels(shelf.root, shelf.load, built_in, shelf.report, poll_s=3_600, shadow_sample=1.0)
    assert models.rank("t", "u", REQUEST)[1] == "learned@0001"
    models.close()
    assert shelf.total(f"{damaged}.errors") == 1


def test_a_failing_version_has_a_fallback(serving: ServedModels, shelf: Shelf) -> None:
    """If the challenger raises, the current version serves; if that raises, the settings' ranker; errors count."""

    def fails(request: RankingRequest) -> Scores:
        raise RuntimeError("no such operator")

    current, challenger = shelf.publish(1, 0, 0), shelf.publish(0, 1, 0)
    shelf.point(lambda now: now.promoted(current).with_share(challenger, 1.0))
    serving.refresh()
    assert serving.rank("t", "u", REQUEST)[1] == "learned@0002"
    shelf.rankers[challenger] = fails
    assert serving.rank("t", "u", REQUEST)[1] == "learned@0001"
    shelf.rankers[current] = fails
    assert serving.rank("t", "u", REQUEST)[1] == "weighted-sum@2"
    serving.close()
    assert [shelf.total(f"{version}.errors") for version in (challenger, current)] == [2, 1]
    assert [shelf.total(f"{version}.requests") for version in (challenger, current)] == [1, 1]


def test_a_challenger_is_scored_in_shadow(serving: ServedModels, shelf: Shelf) -> None:
    """In shadow the challenger serves no request; its agreement, time and errors are counted."""
    current, challenger = shelf.publish(1, 0, 0), shelf.publish(3, 2, 1)
    shelf.point(lambda now: now.promoted(current).with_shadow(challenger))
    serving.refresh()
    assert serving.rank("t", "u", REQUEST)[1] == "learned@0001"
    serving.close()
    assert shelf.total("shadow.requests") == shelf.total("shadow.agreement") == 1
    assert shelf.total("shadow.seconds") > 0


def test_a_slow_shadow_delays_no_request(serving: ServedModels, shelf: Shelf) -> None:
    """While a challenger in shadow is busy, requests are answered without it."""
    current, challenger = shelf.publish(1, 0, 0), shelf.publish(3, 2, 1)
    let_go = threading.Event()

    def slow(request: RankingRequest) -> Scores:
        let_go.wait(10)
        return scores(0, 0, 0)

    shelf.rankers[challenger] = slow
    shelf.point(lambda now: now.promoted(current).with_shadow(challenger))
    serving.refresh()
    began = time.monotonic()
    for _ in range(50):
        serving.rank("t", "u", REQUEST)
    assert time.monotonic() - began < 5
    let_go.set()
    serving.close()
    assert shelf.total("shadow.requests") == 1


def test_counts_wait_for_the_store(serving: ServedModels, shelf: Shelf) -> None:
    """Counts made while the store is unavailable are reported when it is available again."""
    reported, shelf.reported = shelf.reported, None  # type: ignore[assignment]
    shelf.point(lambda now: now.with_share(shelf.publish(1, 0, 0), 1.0))
    serving.refresh()
    serving.rank("t", "u", REQUEST)
    serving.flush()
    shelf.reported = reported
    serving.close()
    assert shelf.total("0001.requests") == 1


def test_agreement_is_of_the_best_ten() -> None:
    """Lists that share six of their best ten items have agreement 0.6, regardless of order."""
    one = np.arange(20, 0, -1).astype(np.float32)
    other: FloatArray = np.roll(one, 4)
    assert agreement(one, other) == pytest.approx(0.6)
    assert agreement(one, one) == 1.0
