"""The terms of collection.py and points.py in those of qdrant_edge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import qdrant_edge as edge

from services.common.offers import Offer
from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.collection import VectorQuery
from services.retrieval.adapters.offer_payload import OFFERS, entries_of, offers_payload
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
from services.retrieval.adapters.records import Record, payload_of


def point(data: PointData) -> edge.Point:
    vectors: dict[str, Any] = {LEXICAL: _sparse(data.lexical)}
    if data.dense is not None:
        vectors[DENSE] = data.dense
    if data.image is not None:
        vectors[IMAGE] = data.image
    vectors |= data.items
    return edge.Point(data.id, vectors, payload_of(data.record, data.dense) | offers_payload(data.offers))


def number(point_id: Any) -> int:
    """Kairos' ids are all integers; the engine has other kinds as well."""
    return cast(int, point_id)


def numbers(points: Sequence[Any]) -> list[int]:
    """The ids of points, records or hits."""
    # Without a call for each: a search has hundreds of hits.
    return [point.id for point in points]


def floats(vector: Any) -> list[float] | None:
    """A dense vector as the engine returns it."""
    return None if vector is None else [float(value) for value in vector]


def set_offers(id: int, offers: Sequence[Offer]) -> edge.UpdateOperation:
    """Adds these offers to the point's, or replaces those of the same price list, place and source."""
    return edge.UpdateOperation.set_payload([id], entries_of(offers), key=OFFERS)


def point_data(found: edge.Record, record: Record, offers: Sequence[Offer]) -> PointData:
    vectors: dict[str, Any] = found.vector if isinstance(found.vector, dict) else {}
    lexical = vectors.get(LEXICAL)
    weights = SparseWeights(list(lexical.indices) if lexical else [], list(lexical.values) if lexical else [])
    return PointData(
        number(found.id),
        floats(vectors.get(DENSE)),
        floats(vectors.get(IMAGE)),
        weights,
        record,
        tuple(offers),
        {name: list(map(float, vector)) for name, vector in vectors.items() if name.startswith(ITEMS_PREFIX)},
    )


def dense_vectors(found: edge.Record) -> dict[str, list[float]]:
    """By name."""
    vectors: dict[str, Any] = found.vector if isinstance(found.vector, dict) else {}
    return {name: list(vector) for name, vector in vectors.items()}


def set_vectors(using: str, vectors: Mapping[int, list[float]]) -> edge.UpdateOperation:
    return edge.UpdateOperation.update_vectors([edge.PointVectors(id, {using: row}) for id, row in vectors.items()])


def words(found: edge.Record) -> list[int]:
    """The numbers of the words of a point's text."""
    vectors: dict[str, Any] = found.vector if isinstance(found.vector, dict) else {}
    lexical = vectors.get(LEXICAL)
    return list(lexical.indices) if lexical else []


def query_request(query: VectorQuery) -> edge.QueryRequest:
    vector = _sparse(query.vector) if isinstance(query.vector, SparseWeights) else query.vector
    return edge.QueryRequest(
        query.limit,
        query=edge.Query.Nearest(vector, query.using),
        filter=filter_of(query.where),
        params=edge.SearchParams(exact=True) if query.exact else None,
    )


def filter_of(where: Where) -> edge.Filter | None:
    if where.is_empty:
        return None
    must_not: Any = [edge.HasIdCondition(set(where.excluded))] if where.excluded else None
    return edge.Filter(must=[_condition(condition) for condition in where.conditions], must_not=must_not)


def _condition(condition: Condition) -> Any:
    if isinstance(condition, AtLeast):
        return edge.FieldCondition(condition.key, range=edge.RangeFloat(gte=condition.minimum))
    if isinstance(condition, IsMissing):
        return edge.IsEmptyCondition(condition.key)
    if isinstance(condition, HasVector):
        has_it = edge.HasVectorCondition(condition.using)
        return edge.Filter(must_not=[has_it]) if condition.is_absent else has_it
    return edge.HasIdCondition(set(condition.ids))


def _sparse(weights: SparseWeights) -> edge.SparseVector:
    return edge.SparseVector(weights.indices, weights.values)
