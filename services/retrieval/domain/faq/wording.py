"""What two questions are compared by beside their vectors: their words, and the pairs of their characters."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from services.common.typed_text import folded

# Wordings that are kept: a question is compared with tens of questions, mostly the same ones.
_REMEMBERED = 16_384


@dataclass(frozen=True)
class Wording:
    """`words`: their numbers, as the lexical leg has them, without stop words. `pairs`: of neighbouring characters."""

    words: frozenset[int]
    pairs: frozenset[str]

    @classmethod
    def of(cls, text: str, words: Iterable[int]) -> Wording:
        return cls(frozenset(words), _pairs(text))


@dataclass(frozen=True)
class WordWeights:
    """Inverse document frequencies: a word of many entries says little about which one is meant."""

    # Entries that have each word, and their number.
    counts: Mapping[int, int]
    entries: int

    def sum(self, words: Collection[int]) -> float:
        return sum(self._weight(word) for word in words)

    def _weight(self, word: int) -> float:
        count = self.counts.get(word, 0)
        return math.log(1 + (self.entries - count + 0.5) / (count + 0.5))


def coverage(asked: Wording, known: Wording, weights: WordWeights) -> tuple[float, float]:
    """Shares of the weight of the words of `asked`, and of those of `known`, that both have. 0 without words."""
    common = weights.sum(asked.words & known.words)
    if not common:
        return 0.0, 0.0
    return common / weights.sum(asked.words), common / weights.sum(known.words)


def spelled_alike(asked: Wording, known: Wording) -> float:
    """Dice's coefficient of the pairs of characters, 0 to 1: also for typos and for words that are inflected."""
    both = len(asked.pairs) + len(known.pairs)
    return 2 * len(asked.pairs & known.pairs) / both if both else 0.0


@lru_cache(_REMEMBERED)
def _pairs(text: str) -> frozenset[str]:
    letters = "".join(character for character in folded(text).lower() if character.isalnum())
    return frozenset(letters[place : place + 2] for place in range(len(letters) - 1)) or frozenset(letters)
