"""Fusion of the legs of a search into one order of candidates: the interface, and fixed weights.

For the network see learned_fusion.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from services.common.arrays import min_max
from services.retrieval.domain.candidates import Candidates
from services.retrieval.domain.legs import KeyArray, LegHits, ScoredKeys, Source
from services.retrieval.domain.query import FloatArray


@dataclass(frozen=True)
class Details:
    """What a fusion may need beyond the hits of the legs.

    `candidates`: every product that a leg found, with vectors and heading terms. `lexical`: BM25 scores by key of those
    that share a word with the query, also where only the dense leg found them. `query_terms`: numbers of the query's
    words.
    """

    candidates: Candidates
    lexical: dict[int, float]
    query_terms: npt.NDArray[np.uint32]


class Fusion(Protocol):
    @property
    def needs_details(self) -> bool:
        """Whether `fuse` reads `details`; if not, they are None."""

    def fuse(self, hits: Sequence[LegHits], details: Details | None, limit: int) -> ScoredKeys:
        """The best `limit` products, best first. The same hits always give the same order."""


@dataclass(frozen=True)
class FixedFusion:
    """Fusion with fixed weights.

    linear: the weighted sum of the legs' scores, each scaled to [0, 1] over what the leg found. rrf: reciprocal ranks
    (Cormack et al., SIGIR 2009). dbsf: scores scaled by the mean and three standard deviations of each leg, unweighted.
    A search with several query vectors is always fused by ranks: then every interest is represented, whereas by scores
    the interest with the nearest products would prevail.
    """

    method: Literal["linear", "rrf", "dbsf"]
    dense_weight: float
    lexical_weight: float
    image_weight: float
    rrf_k: int

    @property
    def needs_details(self) -> bool:
        return False

    def fuse(self, hits: Sequence[LegHits], details: Details | None, limit: int) -> ScoredKeys:
        if not hits:
            return ScoredKeys.none()
        keys, rows = _union(hits)
        total = np.zeros(len(keys), np.float64)
        for found, at in zip(hits, rows, strict=True):
            # The scores of a leg that is alone are the order.
            total[at] += found.scores if len(hits) == 1 else self._contribution(found, self._method(hits))
        return _best(keys, total.astype(np.float32), hits, rows, limit)

    def _method(self, hits: Sequence[LegHits]) -> str:
        return "rrf" if sum(found.leg.source is Source.DENSE for found in hits) > 1 else self.method

    def _contribution(self, hits: LegHits, method: str) -> npt.NDArray[np.floating]:
        """What the leg adds to the score of each of its hits, [n]."""
        weights = {
            Source.DENSE: self.dense_weight,
            Source.LEXICAL: self.lexical_weight,
            Source.IMAGE: self.image_weight,
            # Always alone.
            Source.SHOPPER: 1.0,
        }
        weight = weights[hits.leg.source] * hits.leg.share
        if method == "rrf":
            # The weight divides the rank, as in Qdrant.
            return 1.0 / (np.arange(1, len(hits.keys) + 1) / weight + self.rrf_k - 1.0)
        if method == "dbsf":
            return _by_distribution(hits.scores)
        return weight * _scaled(hits)


def _union(hits: Sequence[LegHits]) -> tuple[KeyArray, list[npt.NDArray[np.intp]]]:
    """(the keys of all hits, each once, ascending; for each leg the row of each of its hits among them)."""
    keys, inverse = np.unique(np.concatenate([found.keys for found in hits]), return_inverse=True)
    return keys, np.split(inverse, np.cumsum([len(found.keys) for found in hits])[:-1])


def _best(
    keys: KeyArray, scores: FloatArray, hits: Sequence[LegHits], rows: Sequence[npt.NDArray[np.intp]], limit: int
) -> ScoredKeys:
    """The best `limit` of `keys`, which ascend: equal scores are ordered by key."""
    order = np.argsort(-scores, kind="stable")[:limit]
    dense, lexical, image = (
        _scores_of(source, hits, rows, len(keys))[order] for source in (Source.DENSE, Source.LEXICAL, Source.IMAGE)
    )
    return ScoredKeys(keys[order], scores[order], dense, lexical, image, len(keys))


def _scores_of(source: Source, hits: Sequence[LegHits], rows: Sequence[npt.NDArray[np.intp]], count: int) -> FloatArray:
    """[count]: the best score that a leg of `source` gives each product; 0 if none found it."""
    best = np.full(count, -np.inf, np.float32)
    for found, at in zip(hits, rows, strict=True):
        if found.leg.source is source:
            best[at] = np.maximum(best[at], found.scores)
    best[np.isneginf(best)] = 0
    return best


def _scaled(hits: LegHits) -> FloatArray:
    """A leg that was cut scales from its last score, one that found all its matches from 0.

    A leg without a spread does not order anything and adds nothing. Of one that was cut no hit may meet the filter.
    """
    if not len(hits.scores):
        return hits.scores
    floor, top = float(hits.scores[-1]) if hits.is_cut else 0.0, float(hits.scores[0])
    return min_max(hits.scores, floor, top) if top > floor else np.zeros(len(hits.scores), np.float32)


def _by_distribution(scores: FloatArray) -> npt.NDArray[np.floating]:
    deviation = float(scores.std(ddof=1, dtype=np.float64)) if len(scores) > 1 else 0.0
    if deviation == 0:
        return np.full(len(scores), 0.5)
    low = float(scores.mean(dtype=np.float64)) - 3 * deviation
    return (scores.astype(np.float64) - low) / (6 * deviation)
