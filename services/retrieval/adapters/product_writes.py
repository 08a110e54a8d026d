"""Writes of products to a tenant's collections: the live one, and the staged one while there is one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from kairos.common.v1 import product_pb2
from services.common.convert_moderation import moderated_to_proto
from services.common.errors import Conflict
from services.common.offers import Offer
from services.common.visibility import Moderated
from services.retrieval.adapters.bm25 import Bm25Encoder
from services.retrieval.adapters.collection import Collection, Collections
from services.retrieval.adapters.item_spaces import with_item_vectors
from services.retrieval.adapters.points import DENSE, IMAGE, PointData, Where, point_id, with_vector
from services.retrieval.adapters.records import entry_of, record_of, table_entry
from services.retrieval.domain.candidates import IndexedProduct, ReviewSummary
from services.retrieval.domain.catalogue.catalogue import Catalogue
from services.retrieval.domain.catalogue.table import Entry
from services.retrieval.domain.offers.book import is_past
from services.retrieval.domain.query import FloatArray
from services.retrieval.ports import Columns, OfferUpdate, Vectors

_IDS_ONLY = Columns(products=False)


class ProductWriter:
    """`writing`: the lock of each tenant, which re-embedding takes as well."""

    def __init__(self, collections: Collections, encoder: Bm25Encoder, writing: Mapping[str, threading.Lock]) -> None:
        self._collections = collections
        self._encoder = encoder
        self._writing = writing

    def upsert(
        self,
        tenant: str,
        products: Sequence[IndexedProduct],
        vectors: Vectors | None,
        images: Vectors | None,
        other_vectors: Sequence[Vectors],
    ) -> None:
        """See ports.ProductIndex."""
        given = [vectors, *other_vectors] if vectors is not None else list(other_vectors)
        products = self._with_reviews(tenant, products)
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
                    # Only the lexical leg finds them until the staged collection is live. If it never becomes live,
                    # the next import of the product sees by the fingerprint that it has changed.
                    points = [_without_fingerprint(point) for point in points]
            wanted, staged = _spaces(for_live, images), pair.staged
            if _clashes(live, wanted) and live.count(Where()) == 0:
                live, staged = self._collections.create(tenant), None
            _begin_vectors(tenant, live, wanted)
            _refuse_collisions(live, points)
            points = self._with_offers(live, points)
            if staged is None:
                live.upsert(with_item_vectors(live, _with_vectors(points, for_live)))
                self._catalogue(tenant).columns.replace(_entries(products, points))
                return
            if for_staged is not None:
                _begin_vectors(tenant, staged, _spaces(for_staged, images))
            new = None
            if for_staged is not None:
                new = with_item_vectors(staged, _with_vectors(points, for_staged))
            # Out of the staged one first: if this is interrupted, it has no product that differs from the live one's.
            _delete(staged, points)
            live.upsert(with_item_vectors(live, _with_vectors(points, for_live)))
            if new is not None:
                staged.upsert(new)
            self._catalogue(tenant).columns.replace(_entries(products, points))

    def set_moderation(self, tenant: str, changes: Mapping[str, Moderated | None]) -> list[str]:
        """See ports.ProductIndex."""
        return self._rewrite(tenant, {id: partial(_moderate, moderated=its) for id, its in changes.items()})

    def set_review_summaries(self, tenant: str, changes: Mapping[str, ReviewSummary | None]) -> list[str]:
        """See ports.ProductIndex."""
        return self._rewrite(tenant, {id: partial(_summarize, summary=its) for id, its in changes.items()})

    def _rewrite(self, tenant: str, changes: Mapping[str, Callable[[product_pb2.Product], None]]) -> list[str]:
        """Changes messages of products. Vectors, offers and fingerprints stay as they are. Returns unknown ids."""
        keys = {point_id(id): id for id in changes}
        with self._writing[tenant]:
            pair = self._collections.pair(tenant)
            if pair.live is None:
                return list(changes)
            changed: dict[int, PointData] = {}
            # The staged collection first: after an interruption the live one is unchanged and the caller repeats it.
            for collection in (pair.staged, pair.live):
                if collection is None:
                    continue
                points = [point for point in collection.points(list(keys)) if point.record.id == keys[point.id]]
                changed = {point.id: _rewritten(point, changes[keys[point.id]]) for point in points}
                if changed:
                    collection.upsert(list(changed.values()))
            entries = [entry_of(point.id, point.record, point.lexical.indices) for point in changed.values()]
            self._catalogue(tenant).columns.replace(entries)
        return [id for key, id in keys.items() if key not in changed]

    def remove(self, tenant: str, ids: Sequence[str]) -> list[str]:
        """The ids that were not there."""
        keys = {id: point_id(id) for id in ids}
        with self._writing[tenant]:
            pair = self._collections.pair(tenant)
            if pair.live is None:
                return list(ids)
            records = pair.live.retrieve(list(keys.values()), _IDS_ONLY)
            present = {id for id in ids if keys[id] in records and records[keys[id]].id == id}
            if pair.staged is not None:
                pair.staged.delete(list(pair.staged.retrieve(list(keys.values()), _IDS_ONLY)))
            pair.live.delete([keys[id] for id in present])
            self._catalogue(tenant).columns.remove([keys[id] for id in present])
        return [id for id in ids if id not in present]

    def _catalogue(self, tenant: str) -> Catalogue:
        """Of a tenant that has a collection."""
        catalogue = self._collections.catalogue(tenant)
        if catalogue is None:
            raise RuntimeError(f"tenant {tenant!r} has a collection without a catalogue")
        return catalogue

    def update_offers(self, tenant: str, offers: Sequence[tuple[str, Offer]]) -> OfferUpdate:
        """See ports.ProductIndex."""
        keys = {id: point_id(id) for id, _ in offers}
        with self._writing[tenant]:
            pair = self._collections.pair(tenant)
            if pair.live is None:
                return OfferUpdate(0, 0, list(keys))
            catalogue, ids = self._catalogue(tenant), list(keys.values())
            records = pair.live.retrieve(ids, _IDS_ONLY)
            missing_ids = [id for id, key in keys.items() if key not in records or records[key].id != id]
            missing = frozenset(missing_ids)
            _learn(catalogue, pair.live.offers_of_others(ids))
            known = {place: (keys[id], offer) for place, (id, offer) in enumerate(offers) if id not in missing}
            newer = [known[place] for place in catalogue.newer_offers(known)]
            if pair.staged is not None:
                # First: an offer that the live one has would be stale when it is sent again.
                present = pair.staged.retrieve(ids, _IDS_ONLY)
                pair.staged.set_offers([entry for entry in newer if entry[0] in present])
            pair.live.set_offers(newer)
            catalogue.update_offers(newer)
            return OfferUpdate(len(newer), len(known) - len(newer), missing_ids)

    def _with_reviews(self, tenant: str, products: Sequence[IndexedProduct]) -> list[IndexedProduct]:
        """With what the reviews of the products say: an import does not bring it.

        A summary that is set between this read and the write is lost until the next one.
        """
        catalogue, live = self._collections.catalogue(tenant), self._collections.get(tenant)
        if catalogue is None or live is None:
            return list(products)
        with catalogue.columns.reading() as view:
            if not view.has_reviews:
                return list(products)
        keys = {point_id(indexed.product.id): row for row, indexed in enumerate(products)}
        found = list(products)
        for key, record in live.retrieve(list(keys), Columns()).items():
            stored, indexed = product_pb2.Product.FromString(record.product), found[keys[key]]
            if stored.HasField("reviews") and record.id == indexed.product.id:
                message = product_pb2.Product.FromString(indexed.serialized)
                message.reviews.CopyFrom(stored.reviews)
                product = replace(indexed.product, review_sentiment=stored.reviews.sentiment)
                found[keys[key]] = replace(indexed, product=product, serialized=message.SerializeToString())
        return found

    def _with_offers(self, live: Collection, points: Sequence[PointData]) -> list[PointData]:
        """With the offers that the products have: an import does not bring them, and a point is written whole."""
        offers, now_s = live.offers([point.id for point in points]), time.time()
        return [
            replace(point, offers=tuple(offer for offer in offers.get(point.id, ()) if not is_past(offer, now_s)))
            for point in points
        ]

    def _point(self, indexed: IndexedProduct, image: FloatArray | None) -> PointData:
        """Without the dense vector, of which each collection has one of its own model."""
        record = record_of(indexed, self._encoder.heading_terms(indexed.product))
        picture = image.tolist() if image is not None and image.any() else None
        return PointData(point_id(record.id), None, picture, self._encoder.product(indexed.product), record)


def _moderate(product: product_pb2.Product, moderated: Moderated | None) -> None:
    product.ClearField("moderation")
    if moderated is not None:
        product.moderation.CopyFrom(moderated_to_proto(moderated))


def _summarize(product: product_pb2.Product, summary: ReviewSummary | None) -> None:
    product.ClearField("reviews")
    if summary is not None:
        product.reviews.CopyFrom(product_pb2.ReviewSummary(**vars(summary)))


def _rewritten(point: PointData, change: Callable[[product_pb2.Product], None]) -> PointData:
    product = product_pb2.Product.FromString(point.record.product)
    change(product)
    return replace(point, record=point.record._replace(product=product.SerializeToString()))


def _entries(products: Sequence[IndexedProduct], points: Sequence[PointData]) -> list[Entry]:
    return [
        table_entry(point.id, indexed.product, point.lexical.indices, point.record)
        for indexed, point in zip(products, points, strict=True)
    ]


def _learn(catalogue: Catalogue, offers: Mapping[int, Sequence[Offer]]) -> None:
    catalogue.update_offers([(key, offer) for key, entries in offers.items() for offer in entries])


def _refuse_collisions(collection: Collection, points: Sequence[PointData]) -> None:
    """Raise Conflict if two products share a point id: the second one would silently replace the first."""
    present = collection.retrieve([point.id for point in points], _IDS_ONLY)
    names = {key: record.id for key, record in present.items()}
    for point in points:
        other = names.setdefault(point.id, point.record.id)
        if other != point.record.id:
            raise Conflict(f"products {point.record.id!r} and {other!r} share a point id; rename one of them")


def _row(vectors: Vectors | None, row: int) -> FloatArray | None:
    return None if vectors is None else vectors.values[row]


def _spaces(dense: Vectors | None, images: Vectors | None) -> dict[str, tuple[str, int]]:
    """(model version, dimensions) of the vectors that a collection must be able to hold, by name of the space."""
    given = ((DENSE, dense), (IMAGE, images))
    return {
        using: (rows.model_version, rows.values.shape[1])
        for using, rows in given
        if rows is not None and rows.values.any()
    }


def _of_its_model(collection: Collection | None, given: Sequence[Vectors]) -> Vectors | None:
    """Those that the collection takes: of its model, or the first ones if it has none yet."""
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
    collection.delete(list(collection.retrieve([point.id for point in points], _IDS_ONLY)))


def _clashes(collection: Collection, wanted: Mapping[str, tuple[str, int]]) -> list[str]:
    """The spaces for which the collection holds vectors of another version or of other dimensions."""
    return [using for using, space in wanted.items() if _version(collection, using) not in (space, ("", 0))]


def _begin_vectors(tenant: str, collection: Collection, wanted: Mapping[str, tuple[str, int]]) -> None:
    """Create the vector spaces that the collection lacks. Raises Conflict."""
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
