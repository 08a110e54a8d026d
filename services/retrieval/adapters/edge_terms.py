"""Our terms (collection.py, points.py) in those of qdrant_edge."""

from __future__ import annotations

from typing import Any, cast

import qdrant_edge as edge

from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.collection import DistributionBased, Fusion, Leg, ReciprocalRanks, Scaled
from services.retrieval.adapters.points import (
    DENSE,
    IMAGE,
    LEXICAL,
    AnyOf,
    Between,
    Condition,
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
    return edge.Point(data.id, vectors, payload_of(data.record))


def number(point_id: Any) -> int:
    """Ours are all integers; the engine knows other kinds as well."""
    return cast(int, point_id)


def floats(vector: Any) -> list[float] | None:
    """A dense vector as the engine hands it out."""
    return None if vector is None else [float(value) for value in vector]


def point_data(found: edge.Record, record: Record) -> PointData:
    vectors: dict[str, Any] = found.vector if isinstance(found.vector, dict) else {}
    lexical = vectors.get(LEXICAL)
    weights = SparseWeights(list(lexical.indices) if lexical else [], list(lexical.values) if lexical else [])
    return PointData(number(found.id), floats(vectors.get(DENSE)), floats(vectors.get(IMAGE)), weights, record)


def nearest(half: Leg) -> edge.Query:
    if isinstance(half.vector, SparseWeights):
        return edge.Query.Nearest(_sparse(half.vector), LEXICAL)
    return edge.Query.Nearest(half.vector, half.using)


def prefetch(half: Leg, where: Where) -> edge.Prefetch:
    return edge.Prefetch(half.limit, query=nearest(half), filter=filter_of(where))


def fusion_of(fusion: Fusion) -> Any:
    if isinstance(fusion, ReciprocalRanks):
        return edge.Fusion.Rrf(k=fusion.k, weights=list(fusion.weights))
    if isinstance(fusion, DistributionBased):
        return edge.Fusion.Dbsf()
    return _formula(fusion)


def filter_of(where: Where) -> edge.Filter | None:
    if where.is_empty:
        return None
    must_not: Any = [edge.HasIdCondition(set(where.excluded))] if where.excluded else None
    return edge.Filter(must=[_condition(condition) for condition in where.conditions], must_not=must_not)


def _formula(fusion: Scaled) -> edge.Formula:
    expressions = []
    defaults = {}
    for number, (scale, floor) in enumerate(fusion.terms()):
        # scale * score - scale * floor: one product and one constant.
        score = edge.Expression.Variable(f"$score[{number}]")
        expressions.append(edge.Expression.Mult([edge.Expression.Constant(scale), score]))
        expressions.append(edge.Expression.Constant(-scale * floor))
        defaults[f"$score[{number}]"] = floor
    return edge.Formula(edge.Expression.Sum(expressions), defaults)


def _condition(condition: Condition) -> Any:
    if isinstance(condition, AnyOf):
        return edge.FieldCondition(condition.key, match=edge.MatchAny(list(condition.values)))
    if isinstance(condition, Between):
        return edge.FieldCondition(condition.key, range=edge.RangeFloat(gte=condition.minimum, lte=condition.maximum))
    if isinstance(condition, IsMissing):
        return edge.IsEmptyCondition(condition.key)
    return edge.HasIdCondition(set(condition.ids))


def _sparse(weights: SparseWeights) -> edge.SparseVector:
    return edge.SparseVector(weights.indices, weights.values)
