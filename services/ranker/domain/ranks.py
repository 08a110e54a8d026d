"""The ranks of candidates by their scores, as reciprocals: what is far down differs little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray

# Added to a rank, which begins at 1: without it the first place would be far from the second.
_OFFSET = 10


@dataclass(frozen=True)
class Ranks:
    """Of n candidates [n], each 1 / (_OFFSET + rank); 0 where the score is 0 or there is none."""

    retrieval: FloatArray
    shopper: FloatArray
    neighbours: FloatArray

    @classmethod
    def of(cls, retrieval: FloatArray, shopper: FloatArray | None, neighbours: FloatArray | None) -> Ranks:
        """By the scores [n] of all candidates."""
        nothing = np.zeros(len(retrieval), np.float32)
        return cls(*(nothing if of is None else reciprocal_ranks(of) for of in (retrieval, shopper, neighbours)))

    def take(self, rows: Sequence[int]) -> Ranks:
        """Those of these candidates only."""
        at = list(rows)
        return Ranks(self.retrieval[at], self.shopper[at], self.neighbours[at])


def reciprocal_ranks(scores: FloatArray) -> FloatArray:
    """[n]; equal scores have the same rank, the best one of their places."""
    ascending = np.sort(scores)
    better = len(scores) - np.searchsorted(ascending, scores, side="right")
    ranks: FloatArray = np.where(scores == 0, 0, 1 / (_OFFSET + 1 + better)).astype(np.float32)
    return ranks
