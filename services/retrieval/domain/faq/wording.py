"""What two questions are compared by beside their vectors: their words, and the pairs of their characters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.common.typed_text import folded


@dataclass(frozen=True)
class Wording:
    """`words`: their numbers, as the lexical leg has them, without stop words. `pairs`: of neighbouring characters."""

    words: frozenset[int]
    pairs: frozenset[str]

    @classmethod
    def of(cls, text: str, words: Iterable[int]) -> Wording:
        return cls(frozenset(words), _pairs(text))


class WordWeights:
    """Inverse document frequencies: a word of many entries says little about which one is meant.

    `counts`: entries that have each word; `entries`: their number.
    """

    def __init__(self, counts: Mapping[int, int], entries: int) -> None:
        self._of_unknown = _weight(0, entries)
        self._weights = {word: _weight(count, entries) for word, count in counts.items()}

    def sum(self, words: Iterable[int]) -> float:
        return sum([self._weights.get(word, self._of_unknown) for word in words])


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


def _weight(count: int, entries: int) -> float:
    return math.log(1 + (entries - count + 0.5) / (count + 0.5))


def _pairs(text: str) -> frozenset[str]:
    letters = "".join(character for character in folded(text).lower() if character.isalnum())
    return frozenset(letters[place : place + 2] for place in range(len(letters) - 1)) or frozenset(letters)
