"""How the legs of a search become one order: by the engine with fixed weights, or by a learned network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.collection import (
    Collection,
    DistributionBased,
    Fusion,
    Hit,
    Leg,
    ReciprocalRanks,
    Scaled,
)
from services.retrieval.adapters.points import DENSE, IMAGE, LEXICAL, IsOneOf, Where
from services.retrieval.adapters.records import Record
from services.retrieval.domain.learned_fusion import Fuse, feedback, fusion_features
from services.retrieval.domain.query import FloatArray
from services.retrieval.ports import Columns, Search
from services.retrieval.settings import FusionSettings

# By space (DENSE, IMAGE, LEXICAL) and point id.
ScoresBySpace = dict[str, dict[int, float]]
SPACES = (DENSE, IMAGE, LEXICAL)
# How much further the engine is asked than what is kept. It has no order among equal scores (variants of one product,
# one word that hundreds of titles hold), and would cut through them differently each time.
BEYOND = 50


@dataclass(frozen=True)
class Seen:
    """n candidates, in no order: cosines [n], BM25 scores [n], features [n, FEATURES]."""

    hits: list[Hit]
    cosines: FloatArray
    lexical: FloatArray
    features: FloatArray


class Fuser:
    """`learned` takes the place of the settings where a search has one vector and words."""

    def __init__(self, settings: FusionSettings, learned: Fuse | None) -> None:
        self._settings = settings
        self._learned = learned

    def fuse(
        self, collection: Collection, legs: Sequence[Leg], found: Sequence[Sequence[Hit]], search: Search
    ) -> tuple[list[Hit], ScoresBySpace]:
        """(hits with records, best first; what each space says of them). `found` is what each half found by itself."""
        if self._learned is not None and [half.using for half in legs] == [DENSE, LEXICAL]:
            return self._by_network(self._learned, self.seen(collection, legs, found, search), search.limit)
        within = [Where((IsOneOf(frozenset(hit.id for hit in hits)),)) for hits in found]
        fusion = self._fusion_of(legs, found, search)
        pairs = list(zip(legs, within, strict=True))
        hits = collection.fused(pairs, fusion, search.limit + BEYOND, search.columns)
        return in_order(hits, search.limit), scores_by_space(legs, found)

    def seen(
        self, collection: Collection, legs: Sequence[Leg], found: Sequence[Sequence[Hit]], search: Search
    ) -> Seen | None:
        """What the network goes by: of one vector and words. None where nothing was found.

        Every candidate gets both scores, also where only one half had found it.
        """
        words = legs[-1].vector
        if search.vectors is None or len(legs) != 2 or not isinstance(words, SparseWeights):
            raise ValueError("the learned fusion joins one vector and words")
        by_words = {hit.id: hit.score for hit in found[1]}
        only_dense = frozenset(hit.id for hit in found[0]) - by_words.keys()
        if only_dense:
            rest = Leg(words, len(only_dense), LEXICAL)
            by_words |= {hit.id: hit.score for hit in collection.nearest(rest, Where((IsOneOf(only_dense),)))}
        hits, records = _candidates(collection, found, search.columns)
        if not hits:
            return None
        vectors = _vectors(records, search.vectors.shape[1])
        cosines = vectors @ search.vectors[0]
        lexical = np.array([by_words.get(hit.id, 0.0) for hit in hits], np.float32)
        near = vectors @ feedback(cosines, lexical, vectors).T
        features = fusion_features(cosines, lexical, _coverage(records, words.indices), near, len(words.indices))
        return Seen(hits, cosines, lexical, features)

    def _by_network(self, learned: Fuse, seen: Seen | None, limit: int) -> tuple[list[Hit], ScoresBySpace]:
        if seen is None:
            return [], {using: {} for using in SPACES}
        scores = learned(seen.features)
        order = np.argsort(-scores, kind="stable")[:limit]
        ids = [seen.hits[row].id for row in order]
        return [Hit(seen.hits[row].id, float(scores[row]), seen.hits[row].record) for row in order], {
            DENSE: dict(zip(ids, seen.cosines[order].tolist(), strict=True)),
            IMAGE: {},
            LEXICAL: dict(zip(ids, seen.lexical[order].tolist(), strict=True)),
        }

    def _fusion_of(self, legs: Sequence[Leg], found: Sequence[Sequence[Hit]], search: Search) -> Fusion:
        settings = self._settings
        shares = iter(np.array(search.weights, np.float64) / (sum(search.weights) or 1))
        constant = {IMAGE: settings.image_weight, LEXICAL: settings.lexical_weight}
        weights = tuple(
            float(next(shares)) * settings.dense_weight if half.using == DENSE else constant[half.using]
            for half in legs
        )
        interests = sum(half.using == DENSE for half in legs)
        # By ranks each interest of a user is represented, however near its products are; by scores the nearest wins.
        if settings.method == "rrf" or interests > 1:
            return ReciprocalRanks(settings.rrf_k, weights)
        if settings.method == "dbsf":
            return DistributionBased()
        # A half that was cut at its depth scales from its last hit; one that found fewer has nothing below, hence 0.
        pairs = list(zip(legs, found, strict=True))
        floors = tuple(hits[-1].score if len(hits) == half.limit else 0.0 for half, hits in pairs)
        return Scaled(weights, floors, tuple(hits[0].score if hits else 0.0 for hits in found))


def in_order(hits: Sequence[Hit], limit: int) -> list[Hit]:
    """The best `limit`, those of one score by their ids: the same question twice is answered the same."""
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:limit]


def scores_by_space(legs: Sequence[Leg], found: Sequence[Sequence[Hit]]) -> ScoresBySpace:
    """BM25, or the cosine to the nearest vector of the space, by point id."""
    scores: ScoresBySpace = {using: {} for using in SPACES}
    for half, hits in zip(legs, found, strict=True):
        of_space = scores[half.using]
        for hit in hits:
            of_space[hit.id] = max(hit.score, of_space.get(hit.id, -1.0))
    return scores


def _candidates(
    collection: Collection, found: Sequence[Sequence[Hit]], columns: Columns
) -> tuple[list[Hit], list[Record]]:
    """What any half found, each once, with the records that the network and the answer need."""
    ids = list(dict.fromkeys(hit.id for hits in found for hit in hits))
    present = [
        (hit, hit.record)
        for hit in collection.retrieve(ids, replace(columns, vectors=True, words=True))
        if hit.record is not None
    ]
    return [hit for hit, _ in present], [record for _, record in present]


def _vectors(records: Sequence[Record], dimensions: int) -> FloatArray:
    """[n, dimensions], zeros for a product without a vector."""
    nothing = bytes(2 * dimensions)
    rows = np.frombuffer(b"".join(record.vector or nothing for record in records), "<f2")
    return rows.reshape(len(records), dimensions).astype(np.float32)


def _coverage(records: Sequence[Record], query_words: Sequence[int]) -> FloatArray:
    """The share of the query's words that each heading holds."""
    lengths = [len(record.words) // 4 for record in records]
    words = np.frombuffer(b"".join(record.words for record in records), "<u4")
    owners = np.repeat(np.arange(len(records)), lengths)
    held = np.bincount(owners[np.isin(words, query_words)], minlength=len(records))
    return (held / max(len(query_words), 1)).astype(np.float32)
