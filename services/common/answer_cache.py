"""Answers that are computed once: recent ones are kept within a bound in bytes, identical requests in flight share one.

A key must hold everything that the answer depends on, versions included: then no answer can be outdated, and nothing
has to be removed when data change. Entries of old versions are not used again and leave as the least recently used.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cachetools import LRUCache

from services.common.context import RequestContext
from services.common.single_flight import Key, SingleFlight

Answer = TypeVar("Answer")

# What a replica exports of a cache, after the name of the cache.
MEASURES = {
    "hits": "Requests that were answered from the cache.",
    "shared": "Requests that got the answer of an identical request in flight.",
    "misses": "Requests whose answer was computed.",
    "entries": "Answers in the cache.",
    "bytes": "Bytes that the answers in the cache take.",
}


@dataclass(frozen=True)
class _Entry(Generic[Answer]):
    answer: Answer
    size: int


class AnswerCache(Generic[Key, Answer]):
    """The least recently used answers leave first. For one event loop.

    `max_bytes` 0 disables it: each request computes its answer. `size_of`: bytes that a key and its answer take.
    Callers share the answers and must not change them. Only whole answers are shared and kept.
    """

    def __init__(
        self,
        max_bytes: int,
        size_of: Callable[[Key, Answer], int],
        is_whole: Callable[[Answer], bool] = lambda _: True,
    ) -> None:
        self._size_of, self._is_whole = size_of, is_whole
        self._entries: LRUCache[Key, _Entry[Answer]] = LRUCache(max_bytes, getsizeof=lambda entry: entry.size)
        self._flights: SingleFlight[Key, Answer] = SingleFlight(is_whole)
        self._hits = self._misses = 0

    @property
    def is_enabled(self) -> bool:
        return self._entries.maxsize > 0

    async def get(
        self,
        key: Key,
        context: RequestContext,
        compute: Callable[[], Coroutine[Any, Any, Answer]],
        may_keep: Callable[[], bool] = lambda: True,
    ) -> Answer:
        """The answer to `key`, by `compute` if it is neither kept nor being computed. Raises what `compute` raises.

        `may_keep` is asked when the answer has been computed.
        """

        async def compute_and_keep() -> Answer:
            self._misses += 1
            answer = await compute()
            if self._is_whole(answer) and may_keep():
                self._keep(key, answer)
            return answer

        if not self.is_enabled:
            return await compute()
        entry = self._entries.get(key)
        if entry is not None:
            self._hits += 1
            return entry.answer
        return await self._flights.run(key, context, compute_and_keep)

    def measures(self) -> Mapping[str, float]:
        """The values of MEASURES."""
        return {
            "hits": self._hits,
            "shared": self._flights.shared,
            "misses": self._misses,
            "entries": len(self._entries),
            "bytes": self._entries.currsize,
        }

    def _keep(self, key: Key, answer: Answer) -> None:
        entry = _Entry(answer, self._size_of(key, answer))
        if entry.size <= self._entries.maxsize:
            self._entries[key] = entry
