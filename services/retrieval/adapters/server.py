"""A Qdrant server or cluster through qdrant-client; `QdrantClient(":memory:")` serves tests.

    <prefix><tenant>             collection 1, and <prefix><tenant>.2 a further one, and so on
    <prefix><tenant>.live        alias of the one that answers searches; absent: 1 does
    <prefix><tenant>.staged      alias of the one beside it, where there is one

A collection's metadata keeps the model version of its vectors. One beside counts only once it has its alias, and a
switch changes both aliases in one request. A search asks one collection by its own name from beginning to end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from qdrant_client import QdrantClient, models

from services.retrieval.adapters.bm25 import SparseWeights
from services.retrieval.adapters.collection import (
    Collection,
    DistributionBased,
    Fusion,
    Hit,
    Leg,
    Pair,
    ReciprocalRanks,
)
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
from services.retrieval.settings import ServerSettings

_SCHEMAS = {
    IndexKind.KEYWORD: models.PayloadSchemaType.KEYWORD,
    IndexKind.FLOAT: models.PayloadSchemaType.FLOAT,
    IndexKind.INTEGER: models.PayloadSchemaType.INTEGER,
}


# How long searches go by what was known of who is live: another replica's switch shows after this.
_REFRESH_S = 1.0


def connect(settings: ServerSettings) -> QdrantClient:
    return QdrantClient(
        url=settings.url,
        api_key=settings.api_key.get_secret_value() or None,
        prefer_grpc=settings.prefer_grpc,
        timeout=int(settings.timeout_s),
    )


class ServerCollections:
    """Several replicas may share a server: what one of them switches, the others see within a second."""

    def __init__(self, client: QdrantClient, prefix: str) -> None:
        self._client = client
        self._prefix = prefix
        self._known: dict[str, tuple[Pair, float]] = {}
        self._lock = threading.Lock()

    def get(self, tenant: str) -> Collection | None:
        known = self._known.get(tenant)
        if known is not None and time.monotonic() - known[1] < _REFRESH_S:
            return known[0].live
        return self.pair(tenant).live

    def pair(self, tenant: str) -> Pair:
        with self._lock:
            live_name, beside_name = self._names(tenant)
            live = self._opened(live_name)
            beside = self._opened(beside_name) if live is not None and beside_name else None
            is_older = beside is not None and self._number(tenant, beside_name) < self._number(tenant, live_name)
            pair = Pair(live, beside, is_older)
            # A tenant without a collection is asked for anew: its first import may come from another replica.
            if live is not None:
                self._known[tenant] = (pair, time.monotonic())
            return pair

    def create(self, tenant: str) -> Collection:
        self.drop_staged(tenant)
        name, _ = self._names(tenant)
        collection = create_collection(self._client, name)
        self._forget(tenant)
        return collection

    def create_staged(self, tenant: str, model_version: str, dimensions: int) -> Collection:
        live, _ = self._names(tenant)
        number = self._number(tenant, live) + 1
        # An attempt that was cut off may have left one of this name.
        beside = create_collection(self._client, self._name(tenant, number))
        beside.begin_vectors(DENSE, model_version, dimensions)
        self._client.update_collection_aliases([_alias(self._name(tenant, number), f"{self._prefix}{tenant}.beside")])
        self._forget(tenant)
        return beside

    def switch(self, tenant: str) -> None:
        live, beside = self._names(tenant)
        if not beside:
            raise ValueError(f"tenant {tenant!r} has no collection beside the live one")
        base = self._prefix + tenant
        changes: list[models.AliasOperations] = []
        if f"{base}.live" in self._aliases():
            changes.append(_no_alias(f"{base}.live"))
        changes += [_no_alias(f"{base}.beside"), _alias(beside, f"{base}.live"), _alias(live, f"{base}.beside")]
        self._client.update_collection_aliases(changes)
        self._forget(tenant)

    def drop_staged(self, tenant: str) -> None:
        _, beside = self._names(tenant)
        if beside:
            self._client.update_collection_aliases([_no_alias(f"{self._prefix}{tenant}.beside")])
            self._forget(tenant)
            self._client.delete_collection(beside)

    def check(self) -> None:
        self._client.collection_exists(self._prefix)

    def close(self) -> None:
        self._client.close()

    def _names(self, tenant: str) -> tuple[str, str]:
        """(of the live collection, of the one beside it or an empty one)."""
        base, aliases = self._prefix + tenant, self._aliases()
        return aliases.get(f"{base}.live", base), aliases.get(f"{base}.beside", "")

    def _aliases(self) -> dict[str, str]:
        return {entry.alias_name: entry.collection_name for entry in self._client.get_aliases().aliases}

    def _name(self, tenant: str, number: int) -> str:
        return f"{self._prefix}{tenant}" + (f".{number}" if number > 1 else "")

    def _number(self, tenant: str, name: str) -> int:
        # A tenant's name holds no dot.
        return int(name.removeprefix(f"{self._prefix}{tenant}").removeprefix(".") or 1)

    def _opened(self, name: str) -> ServerCollection | None:
        """With its metadata as they are now; None where there is no such collection."""
        return ServerCollection(self._client, name) if self._client.collection_exists(name) else None

    def _forget(self, tenant: str) -> None:
        with self._lock:
            self._known.pop(tenant, None)


class ServerCollection:
    """See collection.Collection."""

    def __init__(self, client: QdrantClient, name: str) -> None:
        self._client = client
        self.name = name
        metadata = client.get_collection(name).config.metadata or {}
        self.model_version: str = metadata.get("model_version", "")
        self.dimensions: int = int(metadata.get("dimensions", 0))
        self.image_model_version: str = metadata.get("image_model_version", "")
        self.image_dimensions: int = int(metadata.get("image_dimensions", 0))

    def begin_vectors(self, using: str, model_version: str, dimensions: int) -> None:
        self._client.create_vector_name(
            self.name,
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
        self._client.update_collection(self.name, metadata={name: getattr(self, name) for name in names})

    def upsert(self, points: Sequence[PointData]) -> None:
        self._client.upsert(self.name, [_point(point) for point in points], wait=True)

    def delete(self, ids: Sequence[int]) -> None:
        if ids:
            self._client.delete(self.name, list(ids), wait=True)

    def retrieve(self, ids: Sequence[int], columns: Columns) -> list[Hit]:
        return _hits(self._client.retrieve(self.name, list(ids), with_payload=payload_keys(columns)))

    def vector(self, id: int, using: str) -> list[float] | None:
        found = self._client.retrieve(self.name, [id], with_payload=False, with_vectors=[using])
        vectors = found[0].vector if found else None
        return vectors.get(using) if isinstance(vectors, dict) else None  # type: ignore[return-value]

    def points(self, ids: Sequence[int]) -> list[PointData]:
        found = self._client.retrieve(self.name, list(ids), with_payload=True, with_vectors=True)
        return [_point_data(point) for point in found]

    def page(self, start: int, limit: int) -> tuple[list[int], int]:
        found, after = self._client.scroll(self.name, limit=limit, offset=start or None, with_payload=False)
        return [int(point.id) for point in found], int(after) if after is not None else 0  # type: ignore[arg-type]

    def nearest(self, half: Leg, where: Where, columns: Columns | None = None, *, exact: bool = False) -> list[Hit]:
        vector, using = _vector(half)
        answer = self._client.query_points(
            self.name,
            query=vector,
            using=using,
            query_filter=_filter(where),
            search_params=models.SearchParams(exact=True) if exact else None,
            limit=half.limit,
            with_payload=payload_keys(columns) if columns else False,
        )
        return _hits(answer.points)

    def fused(self, legs: Sequence[tuple[Leg, Where]], fusion: Fusion, limit: int, columns: Columns) -> list[Hit]:
        answer = self._client.query_points(
            self.name,
            prefetch=[_prefetch(half, where) for half, where in legs],
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
        answer = self._client.facet(self.name, key, facet_filter=_filter(where), limit=limit)
        return [(str(hit.value), hit.count) for hit in answer.hits]

    def count(self, where: Where) -> int:
        return int(self._client.count(self.name, _filter(where), exact=True).count)

    def _scroll(self, where: Where, limit: int, columns: Columns, order: models.OrderBy | None) -> list[Hit]:
        records, _ = self._client.scroll(
            self.name, scroll_filter=_filter(where), limit=limit, order_by=order, with_payload=payload_keys(columns)
        )
        return _hits(records)


def create_collection(client: QdrantClient, name: str) -> ServerCollection:
    """An empty one, instead of the present one of this name."""
    if client.collection_exists(name):
        client.delete_collection(name)
    client.create_collection(
        name,
        vectors_config={},
        sparse_vectors_config={LEXICAL: models.SparseVectorParams(modifier=models.Modifier.IDF)},
        metadata={},
    )
    for key, kind in INDEXES.items():
        client.create_payload_index(name, key, _SCHEMAS[kind])
    return ServerCollection(client, name)


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


def _prefetch(half: Leg, where: Where) -> models.Prefetch:
    vector, using = _vector(half)
    return models.Prefetch(query=vector, using=using, filter=_filter(where), limit=half.limit)


def _vector(half: Leg) -> tuple[Any, str]:
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


def _point_data(point: models.Record) -> PointData:
    vectors: dict[str, Any] = point.vector if isinstance(point.vector, dict) else {}
    lexical = vectors.get(LEXICAL)
    weights = SparseWeights(lexical.indices, lexical.values) if lexical is not None else SparseWeights([], [])
    record = record_of_payload(point.payload or {})
    return PointData(int(point.id), vectors.get(DENSE), vectors.get(IMAGE), weights, record)


def _alias(collection: str, alias: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=collection, alias_name=alias))


def _no_alias(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))


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
