"""The served versions of the shopper model follow the registry's pointer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from services.common.arrays import FloatArray
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout, StepKind
from services.ranker.domain.user_history import UserHistory
from services.ranker.domain.weights import Weights
from services.ranker.models.served_shoppers import ServedShoppers
from tests.unit.ranker.histories import NOW_S, entry, features

HISTORY = UserHistory([entry(features("boot")), entry(features("lamp"), age_s=60)])
VECTORS = np.zeros((12, 3), np.float32)
ITEMS = [f"i{n}" for n in range(12)]


@dataclass
class FakeShopper:
    """The person's vector is the number of the version and that of the events."""

    name: str
    number: int
    weights: Weights | None = None
    is_broken: bool = False
    # Times of the vectors that were computed.
    times: list[float] = field(default_factory=list)

    def vector(self, history: UserHistory, now_s: float) -> FloatArray | None:
        if self.is_broken:
            raise RuntimeError("no such operator")
        self.times.append(now_s)
        return np.array([self.number, len(history.recent)], np.float32) if history.recent else None

    def scores(
        self, person: FloatArray, item_ids: Sequence[str], vectors: FloatArray, vector_version: str
    ) -> FloatArray:
        scores: FloatArray = np.arange(len(item_ids), dtype=np.float32) * person[0]
        return scores


@dataclass
class Shelf:
    root: Path
    broken: set[str] = field(default_factory=set)
    loaded: dict[str, FakeShopper] = field(default_factory=dict)
    reported: list[Mapping[str, float]] = field(default_factory=list)

    @property
    def registry(self) -> ModelRegistry:
        return ModelRegistry(self.root / "t" / "shopper")

    def publish(self) -> str:
        return self.registry.publish(lambda folder: None, {})

    def point(self, change: Callable[[Rollout], Rollout]) -> None:
        self.registry.take_step(StepKind.PROMOTED, "", change)

    def load(self, folder: Path) -> FakeShopper:
        if folder.name in self.broken:
            raise OSError("the file is damaged")
        self.loaded[folder.name] = FakeShopper(f"shopper@{folder.name}", int(folder.name))
        return self.loaded[folder.name]

    def report(self, tenant: str, trial: str, counts: Mapping[str, float]) -> None:
        self.reported.append(dict(counts))

    def total(self, name: str) -> float:
        return sum(counts.get(name, 0.0) for counts in self.reported)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


@pytest.fixture
def serving(shelf: Shelf) -> Iterator[ServedShoppers]:
    # Looked at by hand.
    models = ServedShoppers(shelf.root, shelf.load, shelf.report, poll_s=3_600, shadow_sample=1.0)
    yield models
    models.close()


def version_of(serving: ServedShoppers, who: str = "u") -> str | None:
    person = serving.person("t", who, HISTORY, NOW_S)
    assert (person.version if person else "") == serving.version("t", who)
    return person.version if person else None


def test_without_a_version_there_is_no_person(serving: ServedShoppers, shelf: Shelf) -> None:
    """A tenant without a registry, and one whose registry names no version, has no shopper model."""
    shelf.publish()
    serving.refresh()
    assert version_of(serving) is None
    assert serving.version("other", "u") == ""
    assert shelf.loaded == {}


def test_calls_within_a_second_share_a_vector(serving: ServedShoppers, shelf: Shelf) -> None:
    """The vector of a history is computed at whole seconds, once for each; that of another history at once."""
    version = shelf.publish()
    shelf.point(lambda now: now.promoted(version))
    serving.refresh()
    history, grown = UserHistory(HISTORY.recent), UserHistory([entry(features("coat")), *HISTORY.recent])
    vectors = []
    for now_s, read in ((NOW_S + 0.2, history), (NOW_S + 0.9, history), (NOW_S + 0.9, grown), (NOW_S + 1.1, history)):
        person = serving.person("t", "u", read, now_s)
        assert person is not None
        vectors.append(person.vector.tolist())
    assert shelf.loaded[version].times == [NOW_S, NOW_S, NOW_S + 1]
    assert vectors == [[1, 2], [1, 2], [1, 3], [1, 2]]


def test_a_new_pointer_is_followed(serving: ServedShoppers, shelf: Shelf) -> None:
    """The promoted version serves, without a restart."""
    for expected in ("shopper@0001", "shopper@0002"):
        version = shelf.publish()
        shelf.point(lambda now, version=version: now.promoted(version))  # type: ignore[misc]
        serving.refresh()
        assert version_of(serving) == expected


def test_a_person_keeps_its_version(serving: ServedShoppers, shelf: Shelf) -> None:
    """Vector, scores and name of one request are of one version, although another one was promoted meanwhile."""
    first, second = shelf.publish(), shelf.publish()
    shelf.point(lambda now: now.promoted(first))
    serving.refresh()
    person = serving.person("t", "u", HISTORY, NOW_S)
    shelf.point(lambda now: now.promoted(second).alone())
    serving.refresh()
    assert person is not None
    assert person.version == "shopper@0001"
    np.testing.assert_array_equal(person.scores(ITEMS, VECTORS, "m@1"), np.arange(12))
    assert version_of(serving) == "shopper@0002"


def test_a_share_of_the_users_has_the_challenger(serving: ServedShoppers, shelf: Shelf) -> None:
    """With a share, the same users have the challenger at each request."""
    current, challenger = shelf.publish(), shelf.publish()
    shelf.point(lambda now: now.promoted(current).with_share(challenger, 0.5))
    serving.refresh()
    once, again = ([version_of(serving, f"u{n}") for n in range(50)] for _ in range(2))
    assert once == again
    assert {"shopper@0001", "shopper@0002"} == set(once)


def test_a_failing_version_has_a_fallback(serving: ServedShoppers, shelf: Shelf) -> None:
    """If the challenger raises, the current version serves; if that raises too, there is no person. Errors count."""
    current, challenger = shelf.publish(), shelf.publish()
    shelf.point(lambda now: now.promoted(current).with_share(challenger, 1.0))
    serving.refresh()
    shelf.loaded[challenger].is_broken = True
    person = serving.person("t", "u", HISTORY, NOW_S)
    assert person is not None
    assert person.version == "shopper@0001"
    shelf.loaded[current].is_broken = True
    assert serving.person("t", "u", HISTORY, NOW_S + 1) is None
    serving.close()
    assert [shelf.total(f"{version}.errors") for version in (challenger, current)] == [2, 1]
    assert shelf.total(f"{current}.requests") == 1


def test_a_version_that_cannot_be_loaded(serving: ServedShoppers, shelf: Shelf) -> None:
    """The version before it stays, and its trial counts an error."""
    good, damaged = shelf.publish(), shelf.publish()
    shelf.point(lambda now: now.promoted(good))
    serving.refresh()
    shelf.broken = {damaged}
    shelf.point(lambda now: now.with_share(damaged, 1.0))
    serving.refresh()
    assert version_of(serving) == "shopper@0001"
    serving.close()
    assert shelf.total(f"{damaged}.errors") == 1


def test_a_challenger_scores_in_shadow(serving: ServedShoppers, shelf: Shelf) -> None:
    """In shadow the challenger serves nobody; its agreement and its time are counted when a ranking is scored."""
    current, challenger = shelf.publish(), shelf.publish()
    shelf.point(lambda now: now.promoted(current).with_shadow(challenger))
    serving.refresh()
    person = serving.person("t", "u", HISTORY, NOW_S)
    assert person is not None
    assert person.version == "shopper@0001"
    person.scores(ITEMS, VECTORS, "m@1")
    serving.close()
    assert shelf.total("shadow.requests") == shelf.total("shadow.agreement") == 1
    assert shelf.total("shadow.seconds_of_current") > 0


def test_a_person_without_an_item(serving: ServedShoppers, shelf: Shelf) -> None:
    """The same version reads the history without the events on one item; nothing left: there is no person."""
    version = shelf.publish()
    shelf.point(lambda now: now.promoted(version))
    serving.refresh()
    person = serving.person("t", "u", HISTORY, NOW_S)
    assert person is not None
    rest = person.without("boot")
    assert rest is not None
    assert (rest.version, rest.vector.tolist()) == ("shopper@0001", [1, 1])
    assert rest.without("lamp") is None
