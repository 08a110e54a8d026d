"""A Qdrant server or cluster through qdrant-client; `QdrantClient(":memory:")` serves tests.

The collection's metadata keeps the model version of its vectors. What a tenant's collection is called is behind an
alias's reach: every call names `<prefix><tenant>`, which may be an alias.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from qdrant_client import QdrantClient, models

from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.collection import Collection, DistributionBased, Fusion, Half, Hit, ReciprocalRanks
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
from services.retrieval.adapters.records import INDEXES, IndexKind, payload_keys, payload_of, record_of_payload
from services.retrieval.ports import Columns

_SCHEMAS = {
    IndexKind.KEYWORD: models.PayloadSchemaType.KEYWORD,
    IndexKind.FLOAT: models.PayloadSchemaType.FLOAT,
    IndexKind.INTEGER: models.PayloadSchemaType.INTEGER,
}


class ServerCollections:
    """Each tenant's collection is <prefix><tenant>."""

    def __init__(self, client: QdrantClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._known: dict[str, ServerCollection] = {}
        self._lock = threading.Lock()

    def get(self, tenant: str) -> Collection | None:
        known = self._known.get(tenant)
        if known is not None:
            return known
        name = self._prefix + tenant
        if not self._client.collection_exists(name):
            return None
        with self._lock:
            return self._known.setdefault(tenant, ServerCollection(self._client, name))

    def create(self, tenant: str) -> Collection:
        name = self._prefix + tenant
        if self._client.collection_exists(name):
            self._client.delete_collection(name)
        self._client.create_collection(
            name,
            vectors_config={},
            sparse_vectors_config={LEXICAL: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            metadata={},
        )
        for key, kind in INDEXES.items():
            self._client.create_payload_index(name, key, _SCHEMAS[kind])
        with self._lock:
            self._known[tenant] = ServerCollection(self._client, name)
            return self._known[tenant]

    def check(self) -> None:
        self._client.collection_exists(self._prefix)

    def close(self) -> None:
        self._client.close()


class ServerCollection:
    """See collection.Collection."""

    def __init__(self, client: QdrantClient, name: str) -> None:
        self._client = client
        self._name = name
        metadata = client.get_collection(name).config.metadata or {}
        self.model_version: str = metadata.get("model_version", "")
        self.dimensions: int = int(metadata.get("dimensions", 0))
        self.image_model_version: str = metadata.get("image_model_version", "")
        self.image_dimensions: int = int(metadata.get("image_dimensions", 0))

    def begin_vectors(self, using: str, model_version: str, dimensions: int) -> None:
        self._client.create_vector_name(
            self._name,
            using,
            models.DenseVectorNameConfig(
                dense=models.DenseVectorConfig(
                    size=dimensions, distance=models.Distance.COSINE, datatype=models.VectorStorageDatatype.FLOAT16
                )
            ),
        )
        prefix = "image_" if using == IMAGE else ""
        setattr(self, f"{prefix}model_version", model_version)
        setattr(self, f"{prefix}dimensions", dimensions)
        names = ("model_version", "dimensions", "image_model_version", "image_dimensions")
        self._client.update_collection(self._name, metadata={name: getattr(self, name) for name in names})

    def upsert(self, points: Sequence[PointData]) -> None:
        self._client.upsert(self._name, [_point(point) for point in points], wait=True)

    def delete(self, ids: Sequence[int]) -> None:
        if ids:
            self._client.delete(self._name, list(ids), wait=True)

    def retrieve(self, ids: Sequence[int], columns: Columns) -> list[Hit]:
        return _hits(self._client.retrieve(self._name, list(ids), with_payload=payload_keys(columns)))

    def vector(self, id: int, using: str) -> list[float] | None:
        found = self._client.retrieve(self._name, [id], with_payload=False, with_vectors=[using])
        vectors = found[0].vector if found else None
        return vectors.get(using) if isinstance(vectors, dict) else None  # type: ignore[return-value]

    def nearest(self, half: Half, where: Where, columns: Columns | None = None) -> list[Hit]:
        vector, using = _vector(half)
        answer = self._client.query_points(
            self._name,
            query=vector,
            using=using,
            query_filter=_filter(where),
            limit=half.limit,
            with_payload=payload_keys(columns) if columns else False,
        )
        return _hits(answer.points)

    def fused(self, halves: Sequence[tuple[Half, Where]], fusion: Fusion, limit: int, columns: Columns) -> list[Hit]:
        answer = self._client.query_points(
            self._name,
            prefetch=[_prefetch(half, where) for half, where in halves],
            query=_fusion(fusion),
            limit=limit,
            with_payload=payload_keys(columns),
        )
        return _hits(answer.points)

    def ordered(self, key: str, descending: bool, where: Where, limit: int, columns: Columns) -> list[Hit]:
        direction = models.Direction.DESC if descending else models.Direction.ASC
        return self._scroll(where, limit, columns, models.OrderBy(key=key, direction=direction))

    def scroll(self, where: Where, limit: int, columns: Columns) -> list[Hit]:
        return self._scroll(where, limit, columns, None)

    def facet(self, key: str, where: Where, limit: int) -> list[tuple[str, int]]:
        answer = self._client.facet(self._name, key, facet_filter=_filter(where), limit=limit)
        return [(str(hit.value), hit.count) for hit in answer.hits]

    def count(self, where: Where) -> int:
        return int(self._client.count(self._name, _filter(where), exact=True).count)

    def _scroll(self, where: Where, limit: int, columns: Columns, order: models.OrderBy | None) -> list[Hit]:
        records, _ = self._client.scroll(
            self._name, scroll_filter=_filter(where), limit=limit, order_by=order, with_payload=payload_keys(columns)
        )
        return _hits(records)


def _hits(points: Sequence[models.ScoredPoint | models.Record]) -> list[Hit]:
    """Records have no score."""
    return [
        Hit(
            int(point.id),
            getattr(point, "score", 0.0),
            record_of_payload(point.payload) if point.payload else None,
        )
        for point in points
    ]


def _prefetch(half: Half, where: Where) -> models.Prefetch:
    vector, using = _vector(half)
    return models.Prefetch(query=vector, using=using, filter=_filter(where), limit=half.limit)


def _vector(half: Half) -> tuple[Any, str]:
    if isinstance(half.vector, SparseWeights):
        return _sparse(half.vector), LEXICAL
    return half.vector, half.using


def _sparse(weights: SparseWeights) -> models.SparseVector:
    return models.SparseVector(indices=weights.indices, values=weights.values)


def _point(point: PointData) -> models.PointStruct:
    vectors: dict[str, Any] = {LEXICAL: _sparse(point.lexical)}
    if point.dense is not None:
        vectors[DENSE] = point.dense
    if point.image is not None:
        vectors[IMAGE] = point.image
    return models.PointStruct(id=point.id, vector=vectors, payload=payload_of(point.record))


def _fusion(fusion: Fusion) -> models.RrfQuery | models.FusionQuery | models.FormulaQuery:
    if isinstance(fusion, ReciprocalRanks):
        return models.RrfQuery(rrf=models.Rrf(k=fusion.k, weights=list(fusion.weights)))
    if isinstance(fusion, DistributionBased):
        return models.FusionQuery(fusion=models.Fusion.DBSF)
    terms: list[Any] = []
    defaults: dict[str, Any] = {}
    for number, (scale, floor) in enumerate(fusion.terms()):
        # scale * score - scale * floor: one product and one constant.
        terms.append(models.MultExpression(mult=[scale, f"$score[{number}]"]))
        terms.append(-scale * floor)
        defaults[f"$score[{number}]"] = floor
    return models.FormulaQuery(formula=models.SumExpression(sum=terms), defaults=defaults)


def _filter(where: Where) -> models.Filter | None:
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
    if isinstance(condition, IsMissing):
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=condition.key))
    return models.HasIdCondition(has_id=list(condition.ids))
