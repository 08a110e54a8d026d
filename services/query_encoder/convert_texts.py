"""Protobuf <-> domain for EncodeTexts. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Sequence

from kairos.encoder.v1 import encoder_pb2
from services.common.arrays import FloatArray
from services.common.convert import vectors_to_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_QUERY
from services.query_encoder.domain.text import detect_language, normalise

MAX_TEXTS, MAX_QUERIES = 512, 8


def texts_from_proto(message: encoder_pb2.EncodeTextsRequest) -> list[str]:
    """In normal form."""
    most = MAX_QUERIES if message.are_queries else MAX_TEXTS
    if not 1 <= len(message.texts) <= most:
        raise InvalidArgument.of("texts", f"holds {len(message.texts)}; send 1 to {most}")
    wrong = [
        FieldViolation(f"texts[{index}]", f"has {len(text)} characters; send 1 to {MAX_QUERY}")
        for index, text in enumerate(message.texts)
        if not 1 <= len(text) <= MAX_QUERY
    ]
    if wrong:
        raise InvalidArgument(*wrong)
    return [normalise(text) for text in message.texts]


def texts_to_proto(texts: Sequence[str], vectors: Sequence[tuple[FloatArray, str]]) -> encoder_pb2.EncodeTextsResponse:
    """`vectors`: of each model, with its version, [texts, dimensions]."""
    found = [vectors_to_proto(rows, version) for rows, version in vectors]
    return encoder_pb2.EncodeTextsResponse(
        vectors=found[0], other_vectors=found[1:], languages=[detect_language(text) for text in texts]
    )
