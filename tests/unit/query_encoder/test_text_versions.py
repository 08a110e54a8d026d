"""Which versions of the text model encode a query while one of them is on trial."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from services.common.arrays import FloatArray
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import Rollout, StepKind
from services.query_encoder.ports import TextKind
from services.query_encoder.served_encoder import ServedEncoder
from services.query_encoder.settings import QueryEncoderSettings
from services.query_encoder.text_versions import SHADOW_SAMPLE, TextVersions


class Named:
    """An encoder with a name and no words."""

    dimensions = 2

    def __init__(self, model_version: str) -> None:
        self.model_version = model_version

    def encode(self, texts: Sequence[str], max_tokens: int, kind: TextKind) -> FloatArray:
        return np.zeros((len(texts), 2), np.float32)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    """With version 0001 in use, and 0002."""
    found = ModelRegistry(tmp_path / "default" / "text")
    for _ in range(2):
        found.publish(lambda folder: None, {})
    found.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001"))
    return found


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def encoded_by(
    registry: ModelRegistry, threads: ThreadPoolExecutor, change: Callable[[Rollout], Rollout]
) -> list[tuple[str, ...]]:
    """Of 1,000 shoppers, the versions that encode the query of each."""
    registry.take_step(StepKind.SHARE, "0002", change)

    def load(folder: Path) -> ServedEncoder:
        return ServedEncoder(Named(folder.name), QueryEncoderSettings(), threads, threads)

    draws = itertools.cycle(np.arange(0.005, 1, 0.01).tolist())
    versions = TextVersions([load(Path("settings"))], load, registry.folder.parents[1], lambda: next(draws))
    versions.refresh()
    return [tuple(one.model_version for one in versions.for_query("default", f"s{n}")) for n in range(1_000)]


def test_the_challenger_encodes_the_queries_of_its_share(registry: ModelRegistry, threads: ThreadPoolExecutor) -> None:
    """With the current version behind it, which stands in for it; all other queries are encoded once."""
    found = encoded_by(registry, threads, lambda now: now.with_share("0002", 0.2))
    assert set(found) == {("0001",), ("0002", "0001")}
    assert found.count(("0002", "0001")) == pytest.approx(200, abs=50)


def test_the_version_in_shadow_encodes_a_sample(registry: ModelRegistry, threads: ThreadPoolExecutor) -> None:
    """Behind the current version, which answers all queries."""
    found = encoded_by(registry, threads, lambda now: now.with_shadow("0002"))
    assert set(found) == {("0001",), ("0001", "0002")}
    assert found.count(("0001", "0002")) == 1_000 * SHADOW_SAMPLE


def test_after_the_promotion_queries_are_encoded_once(registry: ModelRegistry, threads: ThreadPoolExecutor) -> None:
    """The version before stays loaded for imports."""
    assert set(encoded_by(registry, threads, lambda now: now.promoted("0002", keep=True))) == {("0002",)}
