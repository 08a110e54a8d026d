"""The terms of collection.py and points.py in those of qdrant_client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from qdrant_client import models

from services.common.offers import Offer
from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.collection import Hits, Row, VectorQuery
from services.retrieval.adapters.offer_payload import OFFERS, entries_of, offers_of_payload, offers_payload
from services.retrieval.adapters.points import (
    DENSE,
    IMAGE,
    LEXICAL,
    AnyOf,
    Between,
    Beyond,
    Condition,
    IsMissing,
    PointData,
    Where,
)
from services.retrieval.adapters.records import Record, payload_keys, payload_of, records_of_payloads
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


def rows(points: Sequence[models.Record]) -> list[Row]:
    known = records(points)
    return [(number(point.id), known.get(number(point.id))) for point in points]


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
    payload = payload_of(data.record, data.dense) | offers_payload(data.offers)
    return models.PointStruct(id=data.id, vector=vectors, payload=payload)


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
    return PointData(number(found.id), vectors.get(DENSE), vectors.get(IMAGE), weights, record, offers)


def filter_of(where: Where) -> models.Filter | None:
    if where.is_empty:
        return None
    excluded: list[Any] = [models.HasIdCondition(has_id=list(where.excluded))] if where.excluded else []
    return models.Filter(must=[_condition(condition) for condition in where.conditions], must_not=excluded)


def _condition(condition: Condition) -> Any:
    if isinstance(condition, AnyOf):
        return models.FieldCondition(key=condition.key, match=models.MatchAny(any=list(condition.values)))
    if isinstance(condition, Between):
        return models.FieldCondition(
            key=condition.key, range=models.Range(gte=condition.minimum, lte=condition.maximum)
        )
    if isinstance(condition, Beyond):
        end = {"lt" if condition.descending else "gt": condition.value}
        return models.FieldCondition(key=condition.key, range=models.Range(**end))
    if isinstance(condition, IsMissing):
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=condition.key))
    return models.HasIdCondition(has_id=list(condition.ids))


def _sparse(weights: SparseWeights) -> models.SparseVector:
    return models.SparseVector(indices=weights.indices, values=weights.values)
