"""The text encoder's cache: which texts the model still encodes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from services.common.arrays import FloatArray
from services.common.context import RequestContext
from services.query_encoder.domain.query_context import QueryContext
from services.query_encoder.ports import TextKind
from services.query_encoder.served_encoder import ServedEncoder
from services.query_encoder.settings import QueryEncoderSettings


class CountingModel:
    """Encodes a text by its length and records it."""

    model_version, dimensions = "m@1", 2

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, texts: Sequence[str], max_tokens: int, kind: TextKind) -> FloatArray:
        self.encoded += texts
        return np.array([[len(text) / 10, 1.0] for text in texts], np.float32)


class Served:
    """An encoder in front of the model, after its start."""

    def __init__(self, thread: ThreadPoolExecutor, **settings: object) -> None:
        self.model = CountingModel()
        self.encoder = ServedEncoder(self.model, QueryEncoderSettings(**settings), thread, thread)  # type: ignore[arg-type]
        self.model.encoded.clear()

    async def vector(self, text: str, context: QueryContext | None = None) -> FloatArray:
        found = await self.encoder.encode_query(text, context or QueryContext(), RequestContext())
        assert found.in_context is not None
        return found.in_context


@pytest.fixture
def thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


async def test_a_repeated_query_is_not_encoded(thread: ThreadPoolExecutor) -> None:
    """The vector of the same text is the same, bit for bit, and cannot be changed by its reader."""
    served = Served(thread)
    first, second = await served.vector("shoes"), await served.vector("shoes")
    np.testing.assert_array_equal(first, second)
    assert served.model.encoded == ["shoes"]
    assert not second.flags.writeable


async def test_identical_queries_at_the_same_time(thread: ThreadPoolExecutor) -> None:
    """They are encoded once."""
    served = Served(thread)
    await asyncio.gather(*(served.vector("shoes") for _ in range(5)))
    assert served.model.encoded == ["shoes"]
    assert served.encoder.measures()["shared"] == 4


async def test_the_context_is_mixed_for_each_request(thread: ThreadPoolExecutor) -> None:
    """Text and category are encoded once each, and every context moves the vector as it does without a cache."""
    contexts = [QueryContext(category="boots"), QueryContext(np.array([0, 1], np.float32), "m@1"), QueryContext()]
    cached, plain = Served(thread), Served(thread, vector_cache_mb=0)
    for context in (*contexts, *contexts):
        np.testing.assert_array_equal(
            await cached.vector("red shoes", context), await plain.vector("red shoes", context)
        )
    assert cached.model.encoded == ["red shoes", "boots"]


async def test_a_disabled_cache(thread: ThreadPoolExecutor) -> None:
    """With 0 MiB each query is encoded."""
    served = Served(thread, vector_cache_mb=0)
    await asyncio.gather(served.vector("shoes"), served.vector("shoes"))
    assert served.model.encoded == ["shoes", "shoes"]
