"""A cache of answers with a bound in bytes."""

from __future__ import annotations

import asyncio

import pytest

from services.common.answer_cache import AnswerCache
from services.common.context import RequestContext
from services.common.errors import Conflict


class Computed:
    """A cache for answers that take as many bytes as their text, and what was computed for it."""

    def __init__(self, max_bytes: int) -> None:
        self.cache: AnswerCache[str, str] = AnswerCache(
            max_bytes, lambda _, answer: len(answer), lambda answer: answer != "degraded"
        )
        self.computed: list[str] = []
        self.fails = False

    async def get(self, key: str, *, may_keep: bool = True) -> str:
        async def compute() -> str:
            self.computed.append(key)
            if self.fails:
                raise Conflict("no")
            return key

        return await self.cache.get(key, RequestContext(), compute, lambda: may_keep)


async def test_an_answer_is_computed_once() -> None:
    """The second request is answered from the cache, and the counts tell it."""
    cached = Computed(100)
    assert [await cached.get("abc") for _ in range(3)] == ["abc"] * 3
    assert cached.computed == ["abc"]
    assert cached.cache.measures() == {"hits": 2, "shared": 0, "misses": 1, "entries": 1, "bytes": 3}


async def test_the_bound_in_bytes() -> None:
    """The least recently used answer leaves first; one that is larger than the cache is not kept."""
    cached = Computed(6)
    for key in ("aaa", "bbb", "aaa", "ccc", "aaa", "bbb", "too large"):
        await cached.get(key)
        assert cached.cache.measures()["bytes"] <= 6
    assert cached.computed == ["aaa", "bbb", "ccc", "bbb", "too large"]


async def test_a_disabled_cache() -> None:
    """With 0 bytes each request computes its answer, identical ones at the same time too."""
    cached = Computed(0)
    await asyncio.gather(cached.get("a"), cached.get("a"))
    await cached.get("a")
    assert cached.computed == ["a", "a", "a"]
    assert not any(cached.cache.measures().values())


@pytest.mark.parametrize(("key", "may_keep"), [("degraded", True), ("whole", False)])
async def test_what_is_not_kept(key: str, may_keep: bool) -> None:
    """A degraded answer, and one that its owner does not want to be kept."""
    cached = Computed(100)
    await cached.get(key, may_keep=may_keep)
    await cached.get(key, may_keep=may_keep)
    assert cached.computed == [key, key]


async def test_errors_are_not_kept() -> None:
    """After an error the next request computes the answer."""
    cached = Computed(100)
    cached.fails = True
    with pytest.raises(Conflict):
        await cached.get("a")
    cached.fails = False
    assert await cached.get("a") == "a"
