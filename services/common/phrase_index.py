"""Which texts a query has, of many.

A look-up costs a step for each word of the query and each length of texts that begin with it, however many there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Generic, TypeVar

from services.common.merchandising import Anchoring

Words = tuple[str, ...]
Value = TypeVar("Value")


class PhraseIndex(Generic[Value]):
    """Texts as `query_words` reads them, each with how it is compared with a query, and with a value."""

    def __init__(self) -> None:
        self._phrases: dict[Words, list[tuple[Anchoring, Value]]] = defaultdict(list)
        # By the first word: the lengths of texts that begin with it.
        self._lengths: dict[str, list[int]] = defaultdict(list)

    def add(self, anchoring: Anchoring, words: Words, value: Value) -> None:
        """A text without words is never found."""
        if not words:
            return
        self._phrases[words].append((anchoring, value))
        if len(words) not in self._lengths[words[0]]:
            self._lengths[words[0]].append(len(words))

    def find(self, query: Words) -> Iterator[tuple[Anchoring, int, Value]]:
        """(anchoring, length in words, value) of each text that the query has; a value may come several times."""
        for start, word in enumerate(query):
            for length in self._lengths.get(word, ()):
                for anchoring, value in self._phrases.get(query[start : start + length], ()):
                    if is_anchored(anchoring, start, length, len(query)):
                        yield anchoring, length, value


def is_anchored(anchoring: Anchoring, start: int, length: int, count: int) -> bool:
    """Whether a text of `length` words at `start` in a query of `count` words is where it has to be."""
    if anchoring is Anchoring.CONTAINS:
        return True
    return start == 0 and (anchoring is Anchoring.STARTS_WITH or length == count)
