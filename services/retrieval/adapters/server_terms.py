"""The terms of collection.py and points.py in those of qdrant_client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from qdrant_client import models

from services.common.offers import Offer
from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.collection import Hits, VectorQuery
from services.retrieval.adapters.offer_payload import (
    OFFERS,
    OFFERS_AT,
    entries_of,
    offers_of_payload,
    offers_payload,
    offers_time,
)
from services.retrieval.adapters.points import (
    DENSE,
    IMAGE,
    ITEMS_PREFIX,
    LEXICAL,
    AtLeast,
    Condition,
    HasVector,
    IsMissing,
    PointData,
    Where,
)
from services.retrieval.adapters.records import (
    CHANGED_AT,
    Record,
    entry_of,
    payload_keys,
    payload_of,
    records_of_payloads,
)
from services.retrieval.domain.catalogue.table import Entry
from services.retrieval.ports import Columns


def number(point_id: Any) -> int:
    """Kairos' ids are all integers; the server has other kinds as well."""
    return cast(int, point_id)


def query_request(query: VectorQuery, columns: Columns | None) -> models.QueryRequest:
    return models.QueryRequest(
        query=_sparse(query.vector) if isinstance(query.vector, SparseWeights) else query.vector,
        using=query.using,
        filter=filter_of(query.where),
        params=models.SearchParams(exact=True) if query.exact else None,
        limit=query.limit,
        with_payload=payload_keys(columns) if columns else False,
    )


def hits(points: Sequence[models.ScoredPoint]) -> Hits:
    return Hits.of([number(point.id) for point in points], [point.score for point in points], records(points))


@dataclass(frozen=True)
class ChangedOffers:
    """All offers of a product. `changed_ms`: as Changed."""

    key: int
    offers: list[Offer]
    changed_ms: int


def changed_offers(found: models.Record) -> ChangedOffers:
    payload = found.payload or {}
    return ChangedOffers(number(found.id), offers_of_payload(payload), int(payload.get(OFFERS_AT, 0)))


@dataclass(frozen=True)
class Changed:
    """A product as another replica may have written it. `changed_ms`: when, since 1970; 0 if unknown."""

    entry: Entry
    changed_ms: int


def changed(found: models.Record) -> Changed:
    payload = found.payload or {}
    (record,) = records_of_payloads([payload])
    vectors: dict[str, Any] = found.vector if isinstance(found.vector, dict) else {}
    lexical = vectors.get(LEXICAL)
    words = lexical.indices if lexical is not None else []
    return Changed(entry_of(number(found.id), record, words), int(payload.get(CHANGED_AT, 0)))


def records(points: Sequence[models.Record | models.ScoredPoint]) -> dict[int, Record]:
    """By point id, of those that came with a payload."""
    read = [point for point in points if point.payload]
    payloads = [point.payload or {} for point in read]
    return dict(zip([number(point.id) for point in read], records_of_payloads(payloads), strict=True))


def point(data: PointData) -> models.PointStruct:
    vectors: dict[str, Any] = {LEXICAL: _sparse(data.lexical)}
    if data.dense is not None:
        vectors[DENSE] = data.dense
    if data.image is not None:
        vectors[IMAGE] = data.image
    vectors |= data.items
    payload = payload_of(data.record, data.dense) | offers_payload(data.offers)
    return models.PointStruct(id=data.id, vector=vectors, payload=payload)


def set_offers_time(ids: Sequence[int]) -> models.SetPayloadOperation:
    """Notes on these points that their offers were written now."""
    return models.SetPayloadOperation(set_payload=models.SetPayload(payload=offers_time(), points=list(ids)))


def set_offers(id: int, offers: Sequence[Offer]) -> models.SetPayloadOperation:
    """Adds these offers to the point's, or replaces those of the same price list, place and source."""
    return models.SetPayloadOperation(
        set_payload=models.SetPayload(payload=entries_of(offers), points=[id], key=OFFERS)
    )


def point_data(found: models.Record) -> PointData:
    vectors: dict[str, Any] = found.vector if isinstance(found.vector, dict) else {}
    lexical = vectors.get(LEXICAL)
    weights = SparseWeights(lexical.indices, lexical.values) if lexical is not None else SparseWeights([], [])
    (record,) = records_of_payloads([found.payload or {}])
    offers = tuple(offers_of_payload(found.payload))
    items = {name: vector for name, vector in vectors.items() if name.startswith(ITEMS_PREFIX)}
    return PointData(number(found.id), vectors.get(DENSE), vectors.get(IMAGE), weights, record, offers, items)


def dense_vectors(found: models.Record) -> dict[str, list[float]]:
    """By name."""
    return cast(dict[str, list[float]], found.vector) if isinstance(found.vector, dict) else {}


def point_vectors(using: str, vectors: Mapping[int, list[float]]) -> list[models.PointVectors]:
    return [models.PointVectors(id=id, vector={using: row}) for id, row in vectors.items()]


def filter_of(where: Where) -> models.Filter | None:
    if where.is_empty:
        return None
    excluded: list[Any] = [models.HasIdCondition(has_id=list(where.excluded))] if where.excluded else []
    return models.Filter(must=[_condition(condition) for condition in where.conditions], must_not=excluded)


def _condition(condition: Condition) -> Any:
    if isinstance(condition, AtLeast):
        return models.FieldCondition(key=condition.key, range=models.Range(gte=condition.minimum))
    if isinstance(condition, IsMissing):
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=condition.key))
    if isinstance(condition, HasVector):
        has_it = models.HasVectorCondition(has_vector=condition.using)
        return models.Filter(must_not=[has_it]) if condition.is_absent else has_it
    return models.HasIdCondition(has_id=list(condition.ids))


def _sparse(weights: SparseWeights) -> models.SparseVector:
    return models.SparseVector(indices=weights.indices, values=weights.values)
