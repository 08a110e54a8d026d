"""ProductIndex on Qdrant, Edge and server alike: what to ask for and how to join the legs."""

from __future__ import annotations

import copy
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from services.common.errors import Conflict, NotFound
from services.common.filters import SortOrder
from services.retrieval.adapters.bm25 import Bm25Encoder
from services.retrieval.adapters.collection import Collection, Collections, Hit, Leg
from services.retrieval.adapters.fusing import BEYOND, SPACES, Fuser, in_order, scores_by_space
from services.retrieval.adapters.points import (
    DENSE,
    IMAGE,
    LEXICAL,
    IsMissing,
    PointData,
    Where,
    point_id,
    where,
    with_vector,
)
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
from services.retrieval.adapters.reembedding import QdrantReembedding
from services.retrieval.domain.candidates import MAX_FACET_COUNTS, Candidates, Facet, IndexedProduct, merged_brands
from services.retrieval.domain.learned_fusion import FEATURES
from services.retrieval.domain.query import ATTRIBUTE_FACET, BRAND_FACET, FloatArray
from services.retrieval.ports import Columns, Narrowing, Search, Vectors

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
        self._pinned: tuple[str, Collection | None] | None = None

    @property
    def reembedding(self) -> QdrantReembedding:
        return QdrantReembedding(self._collections, self._writing)

    def pinned(self, tenant: str) -> QdrantIndex:
        index = copy.copy(self)
        index._pinned = (tenant, self._live(tenant))
        return index

    def upsert(
        self,
        tenant: str,
        products: Sequence[IndexedProduct],
        vectors: Vectors | None,
        images: Vectors | None = None,
        other_vectors: Sequence[Vectors] = (),
    ) -> None:
        given = [vectors, *other_vectors] if vectors is not None else list(other_vectors)
        points = [self._point(indexed, _row(images, row)) for row, indexed in enumerate(products)]
        with self._writing[tenant]:
            pair = self._collections.pair(tenant)
            live = pair.live or self._collections.create(tenant)
            for_live, for_staged = _of_its_model(live, given), _of_its_model(pair.staged, given)
            if for_live is None and given:
                if for_staged is None or pair.staged_is_previous:
                    # Refused below, unless the live one is empty.
                    for_live = given[0]
                else:
                    # Found by words until the one beside is live. Should it never be, the next import of the product
                    # finds it changed.
                    points = [_without_fingerprint(point) for point in points]
            wanted, beside = _spaces(for_live, images), pair.staged
            if _clashes(live, wanted) and live.count(Where()) == 0:
                live, beside = self._collections.create(tenant), None
            _begin_vectors(tenant, live, wanted)
            _refuse_collisions(live, points)
            if beside is None:
                live.upsert(_with_vectors(points, for_live))
                return
            if for_staged is not None:
                _begin_vectors(tenant, beside, _spaces(for_staged, images))
            # Out of the one beside first: whatever cuts this off, it holds nothing that is not so in the live one.
            _delete(beside, points)
            live.upsert(_with_vectors(points, for_live))
            if for_staged is not None:
                beside.upsert(_with_vectors(points, for_staged))

    def vector(self, tenant: str, id: str, *, image: bool) -> FloatArray | None:
        collection = self._live(tenant)
        present = {} if collection is None else {r.id for _, r in _recorded(_found(collection, [id], _IDS_ONLY))}
        if collection is None or id not in present:
            raise NotFound(f"there is no product {id!r}")
        using = IMAGE if image else DENSE
        values = collection.vector(point_id(id), using) if _version(collection, using)[0] else None
        return None if values is None else np.array(values, np.float32)

    def remove(self, tenant: str, ids: Sequence[str]) -> list[str]:
        with self._writing[tenant]:
            pair = self._collections.pair(tenant)
            if pair.live is None:
                return list(ids)
            present = {record.id: hit for hit, record in _recorded(_found(pair.live, ids, _IDS_ONLY))}
            if pair.staged is not None:
                pair.staged.delete([hit.id for hit in _found(pair.staged, ids, _IDS_ONLY)])
            pair.live.delete([present[product_id].id for product_id in ids if product_id in present])
        return [product_id for product_id in ids if product_id not in present]

    def lookup(self, tenant: str, ids: Sequence[str], columns: Columns) -> Candidates:
        collection = self._live(tenant)
        if collection is None:
            return Candidates.none()
        by_id = {record.id: record for _, record in _recorded(_found(collection, ids, columns))}
        return candidates_of(
            [by_id[product_id] for product_id in ids if product_id in by_id], columns, collection.dimensions
        )

    def search(self, tenant: str, search: Search) -> tuple[Candidates, int]:
        collection = self._live(tenant)
        if collection is None:
            return Candidates.none(), 0
        condition = where(search.narrowing)
        legs = self._legs(collection, search)
        if not legs:
            return Candidates.none(), 0
        if len(legs) == 1:
            # Nothing to fuse: the half's scores are the order.
            found = [_nearest(collection, legs[0], condition, search.columns)]
            hits = found[0][: search.limit]
            scores = scores_by_space(legs, found)
        else:
            # First each half by itself, for its scores. What it found is all that the engine then needs to fuse.
            found = [_nearest(collection, half, condition) for half in legs]
            hits, scores = self._fuser.fuse(collection, legs, found, search)
        rows = _recorded(hits)
        dense, image, lexical = ([scores[using].get(hit.id, 0.0) for hit, _ in rows] for using in SPACES)
        candidates = candidates_of(
            [record for _, record in rows],
            search.columns,
            collection.dimensions,
            [hit.score for hit, _ in rows],
            dense,
            lexical,
            None if search.image is None else image,
        )
        return candidates, len({hit.id for half in found for hit in half})

    def fusion_features(self, tenant: str, search: Search) -> tuple[list[str], FloatArray]:
        """(ids [n], features [n, FEATURES]) of what the legs find: what a learned fusion is trained on."""
        collection = self._live(tenant)
        legs = [] if collection is None else self._legs(collection, search)
        if collection is None or [half.using for half in legs] != [DENSE, LEXICAL]:
            return [], np.zeros((0, len(FEATURES)), np.float32)
        found = [_nearest(collection, half, where(search.narrowing)) for half in legs]
        seen = self._fuser.seen(collection, legs, found, search)
        if seen is None:
            return [], np.zeros((0, len(FEATURES)), np.float32)
        return [record.id for _, record in _recorded(seen.hits)], seen.features

    def browse(self, tenant: str, narrowing: Narrowing, sort: SortOrder, limit: int, columns: Columns) -> Candidates:
        collection = self._live(tenant)
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
        collection = self._live(tenant)
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
        collection = self._live(tenant)
        return 0 if collection is None else collection.count(where(narrowing))

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
        """For searches."""
        if self._pinned is not None and self._pinned[0] == tenant:
            return self._pinned[1]
        return self._collections.get(tenant)

    def _point(self, indexed: IndexedProduct, image: FloatArray | None) -> PointData:
        """Without the dense vector, which each collection has of its own model."""
        record = record_of(indexed, self._encoder.heading_words(indexed.product))
        picture = image.tolist() if image is not None and image.any() else None
        return PointData(point_id(record.id), None, picture, self._encoder.product(indexed.product), record)

    def _legs(self, collection: Collection, search: Search) -> list[Leg]:
        """The dense ones, one for each query vector, the picture, and the words."""
        depth = max(search.limit, _MIN_DEPTH)
        legs: list[Leg] = []
        if search.vectors is not None and collection.model_version:
            legs += [Leg(vector.tolist(), depth, DENSE) for vector in search.vectors]
        if search.image is not None and collection.image_model_version:
            legs.append(Leg(search.image.tolist(), depth, IMAGE))
        words = self._encoder.query(search.text) if search.text else None
        if words is not None and words.indices:
            legs.append(Leg(words, depth, LEXICAL))
        return legs


def _nearest(collection: Collection, half: Leg, condition: Where, columns: Columns | None = None) -> list[Hit]:
    deeper = replace(half, limit=half.limit + BEYOND)
    return in_order(collection.nearest(deeper, condition, columns), half.limit)


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


def _row(vectors: Vectors | None, row: int) -> FloatArray | None:
    return None if vectors is None else vectors.values[row]


def _spaces(dense: Vectors | None, images: Vectors | None) -> dict[str, tuple[str, int]]:
    """(model version, dimensions) of what a collection must have a place for, by name of the space."""
    given = ((DENSE, dense), (IMAGE, images))
    return {
        using: (rows.model_version, rows.values.shape[1])
        for using, rows in given
        if rows is not None and rows.values.any()
    }


def _of_its_model(collection: Collection | None, given: Sequence[Vectors]) -> Vectors | None:
    """Those that the collection takes: of its model, or the first ones where it has none yet."""
    if collection is None:
        return None
    fitting = (vectors for vectors in given if collection.model_version in ("", vectors.model_version))
    return next(fitting, None)


def _with_vectors(points: Sequence[PointData], vectors: Vectors | None) -> list[PointData]:
    if vectors is None:
        return list(points)
    return [with_vector(point, row) for point, row in zip(points, vectors.values, strict=True)]


def _without_fingerprint(point: PointData) -> PointData:
    return replace(point, record=point.record._replace(fingerprint=b""))


def _delete(collection: Collection, points: Sequence[PointData]) -> None:
    """Those of them that it has."""
    collection.delete([hit.id for hit in collection.retrieve([point.id for point in points], _IDS_ONLY)])


def _clashes(collection: Collection, wanted: Mapping[str, tuple[str, int]]) -> list[str]:
    """The spaces for which the collection holds vectors of another version or of other dimensions."""
    return [using for using, space in wanted.items() if _version(collection, using) not in (space, ("", 0))]


def _begin_vectors(tenant: str, collection: Collection, wanted: Mapping[str, tuple[str, int]]) -> None:
    """Make a place for them where there is none yet. Raises Conflict."""
    for using in _clashes(collection, wanted):
        raise _clash(tenant, using, _version(collection, using), wanted[using])
    for using, space in wanted.items():
        if not _version(collection, using)[0]:
            collection.begin_vectors(using, *space)


def _version(collection: Collection, using: str) -> tuple[str, int]:
    """(model version, dimensions) of a space; ("", 0) before its first vector."""
    if using == IMAGE:
        return collection.image_model_version, collection.image_dimensions
    return collection.model_version, collection.dimensions


def _clash(tenant: str, using: str, present: tuple[str, int], given: tuple[str, int]) -> Conflict:
    field, remedy = "vectors", "`kairos catalog reembed` brings the catalogue over to another model"
    if using == IMAGE:
        field, remedy = "image_vectors", "Import the catalogue into a tenant of its own, or remove all products first"
    return Conflict(
        f"{field}.model_version: the collection of tenant {tenant!r} holds vectors of {present[0]!r} with {present[1]} "
        f"dimensions, these are of {given[0]!r} with {given[1]}; vectors of different models are never compared. "
        + remedy
    )
