"""Legs: the retrieval queries that one search consists of, and what each of them finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from services.retrieval.domain.query import FloatArray, RetrievalQuery

# The numbers under which the index stores products.
KeyArray = npt.NDArray[np.uint64]


class Source(StrEnum):
    """What a leg compares: text vectors, image vectors, words (BM25), or item vectors of a shopper model."""

    DENSE = "dense"
    IMAGE = "image"
    LEXICAL = "lexical"
    SHOPPER = "shopper"


@dataclass(frozen=True)
class Leg:
    """`query` is a vector [dimensions], or the text of the lexical leg.

    `share` is the leg's part of its source's weight: several query vectors share the weight of the dense source.
    """

    source: Source
    query: FloatArray | str
    share: float = 1.0
    # Of the item vectors, for SHOPPER.
    version: str = ""


@dataclass(frozen=True)
class LegHits:
    """The products that one leg found, best first, equal scores by key: `keys` [n] and `scores` [n].

    `is_cut`: the leg was cut at its depth, so further products may match it.
    """

    leg: Leg
    keys: KeyArray
    scores: FloatArray
    is_cut: bool


def merged(parts: Sequence[LegHits]) -> LegHits:
    """What one leg found in several parts of the catalogue; each product once, with its score in the first part."""
    if len(parts) == 1:
        return parts[0]
    keys, places = np.unique(np.concatenate([part.keys for part in parts]), return_index=True)
    scores = np.concatenate([part.scores for part in parts])[places]
    order = np.argsort(-scores, kind="stable")
    return LegHits(parts[0].leg, keys[order], scores[order], any(part.is_cut for part in parts))


@dataclass(frozen=True)
class ScoredKeys:
    """Candidates, best first, before their payload is read. All columns have n rows.

    A source's score is 0 for a product that none of its legs found. `found`: number of products that the legs found
    together, before the limit cut them to n.
    """

    keys: KeyArray
    scores: FloatArray
    dense_scores: FloatArray
    lexical_scores: FloatArray
    image_scores: FloatArray
    found: int
    # [n]: the part of `scores` that was added because of the type that the query asks for. None: nothing.
    type_gains: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: npt.NDArray[np.intp]) -> ScoredKeys:
        """These rows, in this order."""
        return ScoredKeys(
            self.keys[rows], self.scores[rows], self.dense_scores[rows], self.lexical_scores[rows],
            self.image_scores[rows], self.found, None if self.type_gains is None else self.type_gains[rows],
        )  # fmt: skip

    def first(self, count: int) -> ScoredKeys:
        return self if len(self) <= count else self.take(np.arange(count))

    @classmethod
    def in_order(cls, keys: KeyArray) -> ScoredKeys:
        """Of products that no leg found, best first: scores fall from 1 in equal steps."""
        nothing = np.zeros(len(keys), np.float32)
        scores = (1 - np.arange(len(keys)) / max(len(keys), 1)).astype(np.float32)
        return cls(keys, scores, nothing, nothing, nothing, len(keys))

    @classmethod
    def none(cls) -> ScoredKeys:
        nothing = np.empty(0, np.float32)
        return cls(np.empty(0, np.uint64), nothing, nothing, nothing, nothing, 0)


def legs_of(query: RetrievalQuery) -> list[Leg]:
    """A dense leg for each query vector, then the image leg, then the lexical leg. The leg of a person is alone."""
    legs = []
    if query.shopper is not None:
        return [Leg(Source.SHOPPER, query.shopper[0], version=query.shopper_version)]
    if query.vectors is not None:
        weights = query.weights or (1.0,) * len(query.vectors)
        whole = sum(weights)
        legs += [Leg(Source.DENSE, row, weight / whole) for row, weight in zip(query.vectors, weights, strict=True)]
    if query.image is not None:
        legs.append(Leg(Source.IMAGE, query.image[0]))
    if query.text.strip():
        legs.append(Leg(Source.LEXICAL, query.lexical_text))
    return legs


def attempts(legs: Sequence[Leg]) -> Iterator[tuple[list[Leg], str]]:
    """Sets of legs to try in turn until one answers, each with the name of its answer as a fallback.

    First all legs; then all but the image leg; then each source by itself.
    """
    sources = {leg.source for leg in legs}
    if not sources:
        return
    yield list(legs), ""
    if len(sources) == 1:
        return
    if len(sources) == len(_ALONE):
        yield [leg for leg in legs if leg.source is not Source.IMAGE], "retrieval without the picture"
    for source, fallback in _ALONE.items():
        if source in sources:
            yield [leg for leg in legs if leg.source is source], fallback


def cheapest(legs: Sequence[Leg]) -> tuple[Leg, str]:
    """(the one leg that answers if there is no time for all, the name of its answer as a fallback)."""
    alone, fallback = next(found for found in attempts(legs) if len({leg.source for leg in found[0]}) == 1)
    return alone[0], fallback or "retrieval by one of several vectors"


_ALONE = {
    Source.LEXICAL: "lexical retrieval",
    Source.DENSE: "dense retrieval",
    Source.IMAGE: "image retrieval",
}
