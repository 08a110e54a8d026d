"""Protobuf <-> domain for ListCompanions. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kairos.encoder.v1 import encoder_pb2
from services.common.convert import vectors_to_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_QUERY
from services.query_encoder.domain.companions import labels_of
from services.query_encoder.domain.concepts import Concept
from services.query_encoder.domain.query_context import QueryVectors

MAX_TEXTS = 20
DEFAULT_LIMIT, MAX_LIMIT = 8, 20


def texts_and_limit(message: encoder_pb2.ListCompanionsRequest) -> tuple[list[str], int]:
    texts, limit = list(message.texts), message.limit or DEFAULT_LIMIT
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise InvalidArgument.of("texts", f"holds {len(texts)}; send 1 to {MAX_TEXTS}")
    wrong = [
        FieldViolation(f"texts[{index}]", f"has {len(text)} characters; at most {MAX_QUERY}")
        for index, text in enumerate(texts)
        if len(text) > MAX_QUERY
    ]
    if not 1 <= limit <= MAX_LIMIT:
        wrong.append(FieldViolation("limit", f"is {limit}; send 1 to {MAX_LIMIT}"))
    if wrong:
        raise InvalidArgument(*wrong)
    return texts, limit


def companions_to_proto(
    concepts: Sequence[Concept], vectors: Sequence[QueryVectors], dimensions: int
) -> encoder_pb2.ListCompanionsResponse:
    """A row of zeros for a concept that the model cannot encode."""
    response = encoder_pb2.ListCompanionsResponse(
        companions=[encoder_pb2.Companion(concept_id=each.name, labels=labels_of(each)) for each in concepts]
    )
    if concepts:
        rows = [np.zeros(dimensions, np.float32) if each.plain is None else each.plain for each in vectors]
        response.vectors.CopyFrom(vectors_to_proto(np.stack(rows).astype(np.float32), vectors[0].model_version))
    return response
