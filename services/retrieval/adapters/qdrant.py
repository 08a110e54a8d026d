"""ProductIndex on Qdrant, Edge and server alike: what to ask for and how to join the halves."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from services.common.errors import Conflict
from services.retrieval.adapters.bm25 import Bm25Encoder
from services.retrieval.adapters.collection import Collection, Collections, Half, Hit
from services.retrieval.adapters.fusing import Fuser, scores_by_half
from services.retrieval.adapters.points import IsMissing, PointData, Where, point_id, where
from services.retrieval.adapters.records import (
    ATTRIBUTES,
    BRAND,
    CREATED_AT,
    PRICE,
    Record,
    candidates_of,
    record_of,
    split_pair,
)
from services.retrieval.domain.candidates import MAX_FACET_COUNTS, Candidates, Facet, IndexedProduct, merged_brands
from services.retrieval.domain.filters import SortOrder
from services.retrieval.domain.learned_fusion import FEATURES
from services.retrieval.domain.query import ATTRIBUTE_FACET, BRAND_FACET, FloatArray
from services.retrieval.ports import Columns, Narrowing, Search

# Below this depth the scale of a half's scores would be that of its best few only.
_MIN_DEPTH = 200
# All attributes share one field: enough of its most frequent values that those of one attribute are among them.
_MAX_ATTRIBUTE_PAIRS = 2_000
# Spellings of brands are merged after counting.
_MAX_BRANDS = 4 * MAX_FACET_COUNTS

_IDS_ONLY = Columns(products=False)


class QdrantIndex:
    """See ports.ProductIndex. One write at a time for each tenant, reads at any time."""

    def __init__(self, collections: Collections, encoder: Bm25Encoder, fuser: Fuser) -> None:
        self._collections = collections
        self._encoder = encoder
        self._fuser = fuser
        self._writing: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def upsert(
        self, tenant: str, products: Sequence[IndexedProduct], vectors: FloatArray | None, model_version: str
    ) -> None:
        points = [
            self._point(indexed, None if vectors is None else vectors[row]) for row, indexed in enumerate(products)
        ]
        with self._writing[tenant]:
            collection = self._collections.get(tenant) or self._collections.create(tenant)
            if vectors is not None and vectors.any():
                collection = self._prepared(tenant, collection, model_version, vectors.shape[1])
            _refuse_collisions(collection, points)
            collection.upsert(points)

    def remove(self, tenant: str, ids: Sequence[str]) -> list[str]:
        with self._writing[tenant]:
            collection = self._collections.get(tenant)
            if collection is None:
                return list(ids)
            present = {record.id: hit for hit, record in _recorded(_found(collection, ids, _IDS_ONLY))}
            collection.delete([present[product_id].id for product_id in ids if product_id in present])
        return [product_id for product_id in ids if product_id not in present]

    def lookup(self, tenant: str, ids: Sequence[str], columns: Columns) -> Candidates:
        collection = self._collections.get(tenant)
        if collection is None:
            return Candidates.none()
        by_id = {record.id: record for _, record in _recorded(_found(collection, ids, columns))}
        return candidates_of(
            [by_id[product_id] for product_id in ids if product_id in by_id], columns, collection.dimensions
        )

    def search(self, tenant: str, search: Search) -> tuple[Candidates, int]:
        collection = self._collections.get(tenant)
        if collection is None:
            return Candidates.none(), 0
        condition = where(search.narrowing)
        halves = self._halves(collection, search)
        if not halves:
            return Candidates.none(), 0
        if len(halves) == 1:
            # Nothing to fuse: the half's scores are the order.
            found = [collection.nearest(halves[0], condition, search.columns)]
            hits = found[0][: search.limit]
            dense, lexical = scores_by_half(halves, found)
        else:
            # First each half by itself, for its scores. What it found is all that the engine then needs to fuse.
            found = [collection.nearest(half, condition) for half in halves]
            hits, dense, lexical = self._fuser.fuse(collection, halves, found, search)
        rows = _recorded(hits)
        candidates = candidates_of(
            [record for _, record in rows],
            search.columns,
            collection.dimensions,
            [hit.score for hit, _ in rows],
            [dense.get(hit.id, 0.0) for hit, _ in rows],
            [lexical.get(hit.id, 0.0) for hit, _ in rows],
        )
        return candidates, len({hit.id for half in found for hit in half})

    def fusion_features(self, tenant: str, search: Search) -> tuple[list[str], FloatArray]:
        """(ids [n], features [n, FEATURES]) of what the halves find: what a learned fusion is trained on."""
        collection = self._collections.get(tenant)
        halves = [] if collection is None else self._halves(collection, search)
        if collection is None or len(halves) != 2:
            return [], np.zeros((0, len(FEATURES)), np.float32)
        found = [collection.nearest(half, where(search.narrowing)) for half in halves]
        seen = self._fuser.seen(collection, halves, found, search)
        if seen is None:
            return [], np.zeros((0, len(FEATURES)), np.float32)
        return [record.id for _, record in _recorded(seen.hits)], seen.features

    def browse(self, tenant: str, narrowing: Narrowing, sort: SortOrder, limit: int, columns: Columns) -> Candidates:
        collection = self._collections.get(tenant)
        if collection is None:
            return Candidates.none()
        condition = where(narrowing)
        if sort is SortOrder.RELEVANCE:
            hits = collection.scroll(condition, limit, columns)
        else:
            key = CREATED_AT if sort is SortOrder.NEWEST else PRICE
            hits = collection.ordered(key, sort is not SortOrder.PRICE_ASCENDING, condition, limit, columns)
            if len(hits) < limit:
                hits += collection.scroll(condition.also(IsMissing(key)), limit - len(hits), columns)
        return candidates_of([record for _, record in _recorded(hits)], columns, collection.dimensions)

    def facet(self, tenant: str, field: str, narrowing: Narrowing) -> Facet:
        collection = self._collections.get(tenant)
        if collection is None:
            return Facet(field, ())
        condition = where(narrowing)
        if field == BRAND_FACET:
            return Facet.of(field, merged_brands(collection.facet(BRAND, condition, _MAX_BRANDS)))
        if field.startswith(ATTRIBUTE_FACET):
            wanted = field.removeprefix(ATTRIBUTE_FACET)
            pairs = (
                (*split_pair(pair), n) for pair, n in collection.facet(ATTRIBUTES, condition, _MAX_ATTRIBUTE_PAIRS)
            )
            return Facet.of(field, ((value, count) for name, value, count in pairs if name == wanted))
        return Facet.of(field, collection.facet(field, condition, MAX_FACET_COUNTS))

    def count(self, tenant: str, narrowing: Narrowing) -> int:
        collection = self._collections.get(tenant)
        return 0 if collection is None else collection.count(where(narrowing))

    def model_version(self, tenant: str) -> str:
        collection = self._collections.get(tenant)
        return "" if collection is None else collection.model_version

    def check(self) -> None:
        self._collections.check()

    def close(self) -> None:
        self._collections.close()

    def _point(self, indexed: IndexedProduct, vector: FloatArray | None) -> PointData:
        record = record_of(indexed, vector, self._encoder.heading_words(indexed.product))
        dense = vector.tolist() if vector is not None and record.vector else None
        return PointData(point_id(record.id), dense, self._encoder.product(indexed.product), record)

    def _prepared(self, tenant: str, collection: Collection, model_version: str, dimensions: int) -> Collection:
        """The collection that takes these vectors: the present one, or a new one where that is empty."""
        if (collection.model_version, collection.dimensions) == (model_version, dimensions):
            return collection
        if collection.model_version:
            if collection.count(Where()) > 0:
                raise Conflict(
                    f"vectors.model_version: the collection of tenant {tenant!r} holds vectors of "
                    f"{collection.model_version!r} with {collection.dimensions} dimensions, these are of "
                    f"{model_version!r} with {dimensions}; vectors of different models are never compared. "
                    "Import the catalogue into a tenant of its own, or remove all products first"
                )
            collection = self._collections.create(tenant)
        collection.begin_vectors(model_version, dimensions)
        return collection

    def _halves(self, collection: Collection, search: Search) -> list[Half]:
        """The dense ones, one for each query vector, and then the lexical one."""
        depth = max(search.limit, _MIN_DEPTH)
        halves: list[Half] = []
        if search.vectors is not None and collection.model_version:
            halves += [Half(vector.tolist(), depth) for vector in search.vectors]
        words = self._encoder.query(search.text) if search.text else None
        if words is not None and words.indices:
            halves.append(Half(words, depth))
        return halves


def _found(collection: Collection, ids: Sequence[str], columns: Columns) -> list[Hit]:
    return collection.retrieve([point_id(product_id) for product_id in ids], columns)


def _recorded(hits: Sequence[Hit]) -> list[tuple[Hit, Record]]:
    """Without hits whose record was removed between finding and reading them."""
    return [(hit, hit.record) for hit in hits if hit.record is not None]


def _refuse_collisions(collection: Collection, points: Sequence[PointData]) -> None:
    """Raise Conflict when two products share a point id: the second would replace the first without a word."""
    present = collection.retrieve([point.id for point in points], _IDS_ONLY)
    names = {hit.id: record.id for hit, record in _recorded(present)}
    for point in points:
        other = names.setdefault(point.id, point.record.id)
        if other != point.record.id:
            raise Conflict(f"products {point.record.id!r} and {other!r} share a point id; rename one of them")
