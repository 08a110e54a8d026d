"""Protobuf <-> domain for item vectors. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_ITEM_DIMENSIONS, MAX_MODEL_VERSION, id_problem
from services.retrieval.convert import MAX_UPSERT, rows_from_proto
from services.retrieval.domain.item_vectors import MAX_ITEM_NUMBER, ItemVectorsState
from services.retrieval.ports import Vectors


def version_from_proto(model_version: str) -> str:
    if not 1 <= len(model_version) <= MAX_MODEL_VERSION:
        raise InvalidArgument.of("model_version", f"has {len(model_version)} characters; send 1 to {MAX_MODEL_VERSION}")
    return model_version


def begin_from_proto(message: retrieval_pb2.BeginItemVectorsRequest) -> tuple[str, int, Vectors | None]:
    """(model version, dimensions, the map)."""
    version = version_from_proto(message.model_version)
    if not 1 <= message.dimensions <= MAX_ITEM_DIMENSIONS:
        raise InvalidArgument.of("dimensions", f"{message.dimensions} is outside 1 to {MAX_ITEM_DIMENSIONS}")
    if not message.HasField("map"):
        return version, message.dimensions, None
    return version, message.dimensions, Vectors(vectors_from_proto(message.map, "map"), message.map.model_version)


def stored_from_proto(message: retrieval_pb2.StoreItemVectorsRequest) -> tuple[str, Vectors | None]:
    """(model version, the vectors of the ids; None without ids)."""
    version, count = version_from_proto(message.model_version), len(message.ids)
    if count > MAX_UPSERT:
        raise InvalidArgument.of("ids", f"has {count} entries; at most {MAX_UPSERT}")
    wrong = [FieldViolation(f"ids[{i}]", problem) for i, id in enumerate(message.ids) if (problem := id_problem(id))]
    if wrong:
        raise InvalidArgument(*wrong)
    if len(set(message.ids)) != count:
        raise InvalidArgument.of("ids", "names a product twice")
    if not count:
        if message.HasField("vectors"):
            raise InvalidArgument.of("ids", "is empty; name the product of each row of vectors")
        return version, None
    vectors = rows_from_proto(message.vectors, "vectors", count)
    if vectors.model_version != version:
        raise InvalidArgument.of("vectors.model_version", f"is {vectors.model_version!r}; send {version!r} as above")
    if np.abs(vectors.values).max(initial=0) > MAX_ITEM_NUMBER:
        raise InvalidArgument.of("vectors", f"holds a number beyond {MAX_ITEM_NUMBER:g}; scale the vectors down")
    return version, vectors


def versions_to_proto(versions: Sequence[ItemVectorsState]) -> retrieval_pb2.DescribeItemVectorsResponse:
    return retrieval_pb2.DescribeItemVectorsResponse(
        versions=[
            retrieval_pb2.ItemVectors(
                model_version=state.model_version,
                dimensions=state.dimensions,
                product_count=state.product_count,
                is_complete=state.is_complete,
            )
            for state in versions
        ]
    )
