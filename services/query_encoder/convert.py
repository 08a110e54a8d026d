"""Protobuf <-> domain."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2
from services.common.convert import money_to_proto, product_from_proto, vectors_from_proto
from services.common.errors import InvalidArgument
from services.common.product import CATEGORY_SEPARATOR, MAX_CATEGORY, MAX_CATEGORY_LEVELS, Product, violations
from services.query_encoder.domain.concepts import ConceptKind
from services.query_encoder.domain.constraints import Constraint, ConstraintType
from services.query_encoder.domain.expansion import MAX_MEANINGS, Expansion
from services.query_encoder.domain.suggestion import Suggestion, SuggestionKind
from services.query_encoder.domain.text import MAX_TEXT
from services.query_encoder.domain.understanding import Source, Understanding
from services.query_encoder.ports import FloatArray

MAX_PRODUCTS = 512
# Of a request with more, the first ones are reported.
MAX_VIOLATIONS = 20
MAX_CATEGORY_PATH = MAX_CATEGORY_LEVELS * (MAX_CATEGORY + len(CATEGORY_SEPARATOR))
_TYPES = {
    ConstraintType.PRICE: encoder_pb2.CONSTRAINT_TYPE_PRICE,
    ConstraintType.BRAND: encoder_pb2.CONSTRAINT_TYPE_BRAND,
    ConstraintType.COLOUR: encoder_pb2.CONSTRAINT_TYPE_COLOUR,
    ConstraintType.CATEGORY: encoder_pb2.CONSTRAINT_TYPE_CATEGORY,
}
_KINDS = {
    ConceptKind.PRODUCT: encoder_pb2.CONCEPT_KIND_PRODUCT,
    ConceptKind.COLOUR: encoder_pb2.CONCEPT_KIND_COLOUR,
    ConceptKind.MATERIAL: encoder_pb2.CONCEPT_KIND_MATERIAL,
    ConceptKind.ATTRIBUTE: encoder_pb2.CONCEPT_KIND_ATTRIBUTE,
    ConceptKind.AUDIENCE: encoder_pb2.CONCEPT_KIND_AUDIENCE,
    ConceptKind.OCCASION: encoder_pb2.CONCEPT_KIND_OCCASION,
    ConceptKind.UNIT: encoder_pb2.CONCEPT_KIND_UNIT,
    ConceptKind.BRAND: encoder_pb2.CONCEPT_KIND_BRAND,
}


def concepts_to_proto(expansion: Expansion) -> Iterator[encoder_pb2.Concept]:
    """Each meaning of each found text; the first one carries the expansions of all."""
    for found, labels in expansion.labels:
        for position, concept in enumerate(found.concepts[:MAX_MEANINGS]):
            yield encoder_pb2.Concept(
                id=concept.name,
                kind=_KINDS[concept.kind],
                matched_text=found.text,
                english_label=next(iter(concept.english), ""),
                chinese_label=next(iter(concept.chinese), ""),
                expansions=labels if position == 0 else (),
            )


_SUGGESTIONS = {
    SuggestionKind.QUERY: encoder_pb2.SUGGESTION_KIND_QUERY,
    SuggestionKind.PRODUCT: encoder_pb2.SUGGESTION_KIND_PRODUCT,
    SuggestionKind.BRAND: encoder_pb2.SUGGESTION_KIND_BRAND,
    SuggestionKind.CATEGORY: encoder_pb2.SUGGESTION_KIND_CATEGORY,
}
DEFAULT_SUGGESTIONS, MAX_SUGGESTIONS = 8, 20


def prefix_and_limit(request: encoder_pb2.SuggestRequest) -> tuple[str, int]:
    if len(request.prefix) > MAX_TEXT:
        raise InvalidArgument.of("prefix", f"has {len(request.prefix)} characters; at most {MAX_TEXT}")
    if request.limit < 0:
        raise InvalidArgument.of("limit", f"{request.limit} is negative; send 1 to {MAX_SUGGESTIONS}")
    return request.prefix, min(request.limit or DEFAULT_SUGGESTIONS, MAX_SUGGESTIONS)


def suggestion_to_proto(suggestion: Suggestion) -> encoder_pb2.Suggestion:
    return encoder_pb2.Suggestion(
        text=suggestion.text, kind=_SUGGESTIONS[suggestion.kind], spelling_corrected=suggestion.is_corrected
    )


MAX_TAGS = 16
_SOURCES = {
    Source.RULE: encoder_pb2.UNDERSTANDING_SOURCE_RULE,
    Source.MODEL: encoder_pb2.UNDERSTANDING_SOURCE_MODEL,
}


def understanding_to_proto(understanding: Understanding, model_version: str) -> encoder_pb2.Understanding:
    """The labels of intent and sentiment are the names of the enums, in lower case."""
    intent, sentiment, category = understanding.intent, understanding.sentiment, understanding.category
    message = encoder_pb2.Understanding(
        intent=encoder_pb2.IntentGuess(
            value=encoder_pb2.Intent.Value(f"INTENT_{intent.value.upper()}"),
            confidence=intent.confidence,
            source=_SOURCES[intent.source],
        ),
        sentiment=encoder_pb2.SentimentGuess(
            value=encoder_pb2.Sentiment.Value(f"SENTIMENT_{sentiment.value.upper()}"),
            confidence=sentiment.confidence,
            source=_SOURCES[sentiment.source],
        ),
        model_version=model_version,
    )
    if category is not None:
        source = _SOURCES[category.source]
        message.category.MergeFrom(
            encoder_pb2.CategoryGuess(value=category.value, confidence=category.confidence, source=source)
        )
    for tag in understanding.tags[:MAX_TAGS]:
        message.tags.add(
            name=tag.name, value=tag.value, matched_text=tag.matched_text, confidence=tag.confidence,
            source=_SOURCES[tag.source],
        )  # fmt: skip
    return message


def constraint_to_proto(constraint: Constraint) -> encoder_pb2.Constraint:
    message = encoder_pb2.Constraint(
        type=_TYPES[constraint.type], matched_text=constraint.matched_text, value=constraint.value
    )
    if constraint.minimum or constraint.maximum:
        message.price.CopyFrom(
            product_pb2.PriceRange(
                minimum=money_to_proto(constraint.minimum) if constraint.minimum else None,
                maximum=money_to_proto(constraint.maximum) if constraint.maximum else None,
            )
        )
    return message


def session_vector(context: encoder_pb2.QueryContext, model_version: str, dimensions: int) -> FloatArray | None:
    """Shape [dimensions]; None where there is none or it is of another model version."""
    if not context.HasField("session") or context.session.model_version != model_version:
        return None
    vectors = vectors_from_proto(context.session, "query_context.session")
    if vectors.shape != (1, dimensions):
        raise InvalidArgument.of("query_context.session", f"has shape {vectors.shape}; send [1, {dimensions}]")
    row: FloatArray = vectors[0]
    return row if np.any(row) else None


def products_from_request(request: encoder_pb2.EncodeProductsRequest) -> list[Product]:
    if not 1 <= len(request.products) <= MAX_PRODUCTS:
        raise InvalidArgument.of("products", f"holds {len(request.products)}; send 1 to {MAX_PRODUCTS}")
    products = [product_from_proto(message, f"products[{index}]") for index, message in enumerate(request.products)]
    wrong = [
        problem for index, product in enumerate(products) for problem in violations(product, f"products[{index}].")
    ]
    if wrong:
        raise InvalidArgument(*wrong[:MAX_VIOLATIONS])
    return products


def images_from_request(request: encoder_pb2.EncodeProductsRequest) -> list[bytes]:
    """As many as products, empty where there is none; none at all without any."""
    if request.images and len(request.images) != len(request.products):
        raise InvalidArgument.of("images", f"holds {len(request.images)} for {len(request.products)} products")
    return list(request.images)


def category_text(context: encoder_pb2.QueryContext) -> str:
    """The words of the category the shopper is in; empty where there is none."""
    if len(context.category) > MAX_CATEGORY_PATH:
        raise InvalidArgument.of(
            "query_context.category", f"has {len(context.category)} characters; at most {MAX_CATEGORY_PATH}"
        )
    return context.category.replace(CATEGORY_SEPARATOR, " ").strip()
