"""Our terms (collection.py, points.py) in those of qdrant_edge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge

from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.collection import DistributionBased, Fusion, Half, Hit, ReciprocalRanks, Scaled
from services.retrieval.adapters.points import DENSE, LEXICAL, AnyOf, Between, Condition, IsTrue, PointData, Where


def point(data: PointData) -> edge.Point:
    vectors: dict[str, Any] = {LEXICAL: _sparse(data.lexical)}
    if data.dense is not None:
        vectors[DENSE] = data.dense
    return edge.Point(data.id, vectors, data.payload)


def hits(points: Sequence[Any]) -> list[Hit]:
    """ScoredPoints or Records; the latter have no score."""
    return [Hit(str(found.id), getattr(found, "score", 0.0), found.payload or {}) for found in points]


def selected(keys: Sequence[str]) -> bool | list[str]:
    return list(keys) if keys else False


def nearest(half: Half) -> edge.Query:
    if isinstance(half.vector, SparseWeights):
        return edge.Query.Nearest(_sparse(half.vector), LEXICAL)
    return edge.Query.Nearest(half.vector, DENSE)


def prefetch(half: Half, condition: edge.Filter | None) -> edge.Prefetch:
    return edge.Prefetch(half.limit, query=nearest(half), filter=condition)


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
    if isinstance(condition, IsTrue):
        return edge.FieldCondition(condition.key, match=edge.MatchValue(True))
    return edge.IsEmptyCondition(condition.key)


def _sparse(weights: SparseWeights) -> edge.SparseVector:
    return edge.SparseVector(weights.indices, weights.values)
