"""ProductIndex on Qdrant, Edge and server alike."""

from __future__ import annotations

import copy
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from services.common.arrays import unit_rows
from services.common.errors import NotFound
from services.common.offers import Offer
from services.common.visibility import Moderated
from services.retrieval.adapters.bm25 import Bm25Encoder, SparseWeights
from services.retrieval.adapters.collection import Collection, Collections, Hits, Pair, VectorQuery
from services.retrieval.adapters.item_spaces import rows_of, text_and_image_vectors
from services.retrieval.adapters.item_vectors import QdrantItemVectors, find_space
from services.retrieval.adapters.points import DENSE, IMAGE, IsOneOf, Where, point_id, where
from services.retrieval.adapters.product_writes import ProductWriter
from services.retrieval.adapters.records import Record, candidates_of, with_phrases
from services.retrieval.adapters.reembedding import QdrantReembedding
from services.retrieval.adapters.staged_searches import StagedSearches
from services.retrieval.domain.candidates import Candidates, IndexedProduct, ReviewSummary
from services.retrieval.domain.catalogue.catalogue import Catalogue
from services.retrieval.domain.legs import KeyArray, Leg, LegHits, Source
from services.retrieval.domain.query import FloatArray
from services.retrieval.ports import Columns, Found, Narrowing, OfferUpdate, Revision, Vectors

# Hits requested from the engine beyond those that are kept. The engine has no order among equal scores (variants of one
# product, a word that is in hundreds of titles) and would cut them off differently each time.
_BEYOND = 50


class QdrantIndex:
    """See ports.ProductIndex. One write at a time for each tenant, reads at any time.

    `has_versions(tenant)`: whether the tenant's registry has a text version in use. Only then may a query's first
    vector choose the staged collection.
    """

    def __init__(
        self, collections: Collections, encoder: Bm25Encoder, has_versions: Callable[[str], bool] = lambda tenant: False
    ) -> None:
        self._collections, self._has_versions = collections, has_versions
        self._encoder = encoder
        self._writing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._writer = ProductWriter(collections, encoder, self._writing)
        self._staged_searches = StagedSearches(self._writing)
        self._pinned: tuple[str, Collection | None] | None = None

    @property
    def reembedding(self) -> QdrantReembedding:
        return QdrantReembedding(self._collections, self._writing)

    @property
    def item_vectors(self) -> QdrantItemVectors:
        return QdrantItemVectors(self._collections, self._writing)

    def pinned(self, tenant: str, model_version: str = "") -> QdrantIndex:
        index = copy.copy(self)
        # One read of both collections: a switch between two reads would leave the query without its collection.
        pair = self._collections.known_pair(tenant)
        index._pinned = (tenant, self._staged(tenant, model_version, pair) or pair.live)
        return index

    def revision(self, tenant: str, model_version: str = "") -> Revision | None:
        of_live = self._collections.revision(tenant)
        pair = self._collections.known_pair(tenant)
        staged = None if of_live is None else self._staged(tenant, model_version, pair)
        if staged is None:
            return of_live
        return None if staged.revision is None else (of_live, staged.revision)

    def catalogue(self, tenant: str) -> Catalogue | None:
        return self._collections.catalogue(tenant)

    def words(self, text: str) -> tuple[int, ...]:
        return self._encoder.terms(text)

    def with_phrases(self, products: Sequence[bytes], phrases: Sequence[str]) -> npt.NDArray[np.bool_]:
        return with_phrases(products, phrases)

    def keys(self, ids: Sequence[str]) -> KeyArray:
        return np.fromiter(map(point_id, ids), np.uint64, len(ids))

    def upsert(
        self,
        tenant: str,
        products: Sequence[IndexedProduct],
        vectors: Vectors | None,
        images: Vectors | None = None,
        other_vectors: Sequence[Vectors] = (),
    ) -> None:
        self._writer.upsert(tenant, products, vectors, images, other_vectors)

    def set_moderation(self, tenant: str, changes: Mapping[str, Moderated | None]) -> list[str]:
        return self._writer.set_moderation(tenant, changes)

    def set_review_summaries(self, tenant: str, changes: Mapping[str, ReviewSummary | None]) -> list[str]:
        return self._writer.set_review_summaries(tenant, changes)

    def remove(self, tenant: str, ids: Sequence[str]) -> list[str]:
        return self._writer.remove(tenant, ids)

    def update_offers(self, tenant: str, offers: Sequence[tuple[str, Offer]]) -> OfferUpdate:
        return self._writer.update_offers(tenant, offers)

    def find(
        self,
        tenant: str,
        legs: Sequence[Leg],
        narrowings: Sequence[Narrowing],
        depth: int,
        columns: Columns | None = None,
    ) -> Found:
        collection = self._live(tenant)
        vectors = [] if collection is None else self._vectors(collection, legs)
        if collection is None or not vectors:
            return Found(
                ((),) * len(narrowings), np.empty(0, np.uint32), None if columns is None else Candidates.none()
            )
        queries = [
            VectorQuery(vector, using, depth + _BEYOND, condition)
            for condition in map(where, narrowings)
            for _, using, vector in vectors
        ]
        answers = collection.query(queries, columns)
        hits = [_leg_hits(vectors[number % len(vectors)][0], answer, depth) for number, answer in enumerate(answers)]
        terms = [vector.indices for _, _, vector in vectors if isinstance(vector, SparseWeights)]
        candidates = None
        if columns is not None:
            records = {key: record for answer in answers for key, record in answer.records.items()}
            candidates = candidates_of(records, columns, collection.dimensions)
        return Found(
            tuple(tuple(hits[start : start + len(vectors)]) for start in range(0, len(hits), len(vectors))),
            np.array(terms[0] if terms else [], np.uint32),
            candidates,
        )

    def fetch(self, tenant: str, keys: KeyArray, columns: Columns) -> Candidates:
        collection = self._live(tenant)
        if collection is None or not len(keys):
            return Candidates.none()
        ids = keys.tolist()
        return _in_order(ids, collection.retrieve(ids, columns), columns, collection)

    def fetch_and_score(
        self, tenant: str, keys: KeyArray, columns: Columns, text: str, unscored: KeyArray
    ) -> tuple[Candidates, dict[int, float]]:
        collection = self._live(tenant)
        if collection is None or not len(unscored):
            return self.fetch(tenant, keys, columns), {}
        ids, within = keys.tolist(), Where((IsOneOf(frozenset(unscored.tolist())),))
        query = VectorQuery(self._encoder.query(text), Source.LEXICAL.value, len(unscored), within)
        records, (hits,) = collection.at_once(
            [lambda: collection.retrieve(ids, columns), lambda: collection.query([query])]
        )
        scores = dict(zip(hits.keys.tolist(), hits.scores.tolist(), strict=True))
        return _in_order(ids, records, columns, collection), scores

    def vectors(self, tenant: str, id: str) -> tuple[FloatArray | None, FloatArray | None]:
        collection = self._live(tenant)
        points = [] if collection is None else collection.points([point_id(id)])
        for point in points:
            # Another product may have the same point id.
            if point.record.id == id:
                return _array(point.dense), _array(point.image)
        raise NotFound(f"there is no product {id!r}")

    def text_and_image_vectors(self, tenant: str, keys: KeyArray) -> tuple[Vectors | None, Vectors | None]:
        collection = self._live(tenant)
        if collection is None:
            return None, None
        ids, spaces = keys.tolist(), {DENSE: collection.dimensions, IMAGE: collection.image_dimensions}
        found = text_and_image_vectors(collection, ids)
        text, image = (
            unit_rows(rows_of([found.get(id, {}).get(using) for id in ids], dimensions))
            for using, dimensions in spaces.items()
        )
        return (
            Vectors(text, collection.model_version) if collection.model_version else None,
            Vectors(image, collection.image_model_version) if collection.image_model_version else None,
        )

    def item_dimensions(self, tenant: str, model_version: str) -> int:
        collection = self._live(tenant)
        space = None if collection is None else find_space(collection, model_version)
        return space.dimensions if space is not None and space.is_complete else 0

    def item_vectors_of(self, tenant: str, model_version: str, ids: Sequence[str]) -> FloatArray:
        collection = self._live(tenant)
        space = None if collection is None else find_space(collection, model_version)
        if collection is None or space is None:
            return np.zeros((0, 0), np.float32)
        keys = {point_id(id): id for id in ids}
        records = collection.retrieve(list(keys), Columns(products=False))
        present = [key for key, id in keys.items() if key in records and records[key].id == id]
        found = collection.vectors(present, [space.using])
        rows = [its[space.using] for key in present if space.using in (its := found.get(key, {}))]
        return np.array(rows, np.float32).reshape(len(rows), space.dimensions)

    def lookup(self, tenant: str, ids: Sequence[str], columns: Columns) -> Candidates:
        collection = self._live(tenant)
        if collection is None:
            return Candidates.none()
        wanted = {point_id(id): id for id in ids}
        records = collection.retrieve(list(wanted), columns)
        # Another product may have the same point id.
        known = {key: record for key, record in records.items() if record.id == wanted[key]}
        return _in_order(list(wanted), known, columns, collection)

    def model_version(self, tenant: str) -> str:
        collection = self._live(tenant)
        return "" if collection is None else collection.model_version

    def image_model_version(self, tenant: str) -> str:
        collection = self._live(tenant)
        return "" if collection is None else collection.image_model_version

    def check(self) -> None:
        self._collections.check()

    def close(self) -> None:
        self._collections.close()

    def _live(self, tenant: str) -> Collection | None:
        """For reads."""
        if self._pinned is not None and self._pinned[0] == tenant:
            return self._pinned[1]
        return self._collections.get(tenant)

    def _staged(self, tenant: str, model_version: str, pair: Pair) -> Collection | None:
        """The staged collection, if it may answer a search that begins with a vector of this version."""
        if not model_version or not self._has_versions(tenant):
            return None
        live, staged = pair.live, pair.staged
        if live is None or staged is None or live.model_version == model_version:
            return None
        is_of_it = staged.model_version == model_version
        return staged if is_of_it and self._staged_searches.is_complete(tenant, live, staged) else None

    def _vectors(
        self, collection: Collection, legs: Sequence[Leg]
    ) -> list[tuple[Leg, str, list[float] | SparseWeights]]:
        """The legs that the collection can answer, each with the name and the vector by which the engine searches."""
        versions = {Source.DENSE: collection.model_version, Source.IMAGE: collection.image_model_version}
        vectors: list[tuple[Leg, str, list[float] | SparseWeights]] = []
        for leg in legs:
            if isinstance(leg.query, str):
                weights = self._encoder.query(leg.query)
                if weights.indices:
                    vectors.append((leg, leg.source.value, weights))
            elif leg.source is Source.SHOPPER:
                space = find_space(collection, leg.version)
                if space is not None and space.is_complete:
                    vectors.append((leg, space.using, leg.query.tolist()))
            elif versions[leg.source]:
                vectors.append((leg, leg.source.value, leg.query.tolist()))
        return vectors


def _leg_hits(leg: Leg, hits: Hits, depth: int) -> LegHits:
    """The best `depth`, equal scores by key: the same query has the same answer."""
    order = np.lexsort((hits.keys, -hits.scores))[:depth]
    return LegHits(leg, hits.keys[order], hits.scores[order], is_cut=len(order) == depth)


def _in_order(ids: Sequence[int], records: dict[int, Record], columns: Columns, collection: Collection) -> Candidates:
    """Those of `ids` that have a record."""
    if list(records) != ids:
        records = {id: records[id] for id in ids if id in records}
    return candidates_of(records, columns, collection.dimensions)


def _array(vector: Sequence[float] | None) -> FloatArray | None:
    return None if vector is None else np.array(vector, np.float32)
