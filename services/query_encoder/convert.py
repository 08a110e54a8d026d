"""Protobuf <-> domain. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from kairos.common.v1 import common_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from services.common.arrays import FloatArray
from services.common.comparison import comparison_form
from services.common.convert import money_to_proto, product_from_proto, vectors_from_proto, vectors_to_proto
from services.common.errors import InvalidArgument
from services.common.limits import MAX_QUERY, id_problem
from services.common.product import CATEGORY_SEPARATOR, MAX_CATEGORY_PATH, Product, violations
from services.query_encoder.domain.asked_type import AskedType
from services.query_encoder.domain.concepts import ConceptKind
from services.query_encoder.domain.constraints import Constraint, ConstraintType
from services.query_encoder.domain.expansion import MAX_MEANINGS, Expansion
from services.query_encoder.domain.query_context import QueryContext, QueryVectors
from services.query_encoder.domain.query_reading import QueryReading
from services.query_encoder.domain.suggestion import Suggestion, SuggestionKind
from services.query_encoder.domain.text import detect_language, tokens
from services.query_encoder.domain.understanding import Source, Understanding
from services.query_encoder.ports import EncodedImages

# Products of one request.
MAX_PRODUCTS = 512
MAX_DELETED_IDS = 1_000
# Wrong fields that an error names; a request may have more.
MAX_VIOLATIONS = 20
DEFAULT_SUGGESTIONS, MAX_SUGGESTIONS = 8, 20
# Attributes that an understanding reports.
MAX_TAGS = 16
_CONSTRAINT_TYPES = {
    ConstraintType.PRICE: encoder_pb2.CONSTRAINT_TYPE_PRICE,
    ConstraintType.BRAND: encoder_pb2.CONSTRAINT_TYPE_BRAND,
    ConstraintType.ATTRIBUTE: encoder_pb2.CONSTRAINT_TYPE_ATTRIBUTE,
    ConstraintType.CATEGORY: encoder_pb2.CONSTRAINT_TYPE_CATEGORY,
    ConstraintType.EXCLUSION: encoder_pb2.CONSTRAINT_TYPE_EXCLUSION,
    ConstraintType.PHRASE: encoder_pb2.CONSTRAINT_TYPE_PHRASE,
    ConstraintType.ALTERNATIVES: encoder_pb2.CONSTRAINT_TYPE_ALTERNATIVES,
}
# These attributes have a type of their own: clients know it since before there were others.
_COLOURS = frozenset({"colour", "color"})
_CONCEPT_KINDS = {
    ConceptKind.PRODUCT: encoder_pb2.CONCEPT_KIND_PRODUCT,
    ConceptKind.COLOUR: encoder_pb2.CONCEPT_KIND_COLOUR,
    ConceptKind.MATERIAL: encoder_pb2.CONCEPT_KIND_MATERIAL,
    ConceptKind.ATTRIBUTE: encoder_pb2.CONCEPT_KIND_ATTRIBUTE,
    ConceptKind.AUDIENCE: encoder_pb2.CONCEPT_KIND_AUDIENCE,
    ConceptKind.OCCASION: encoder_pb2.CONCEPT_KIND_OCCASION,
    ConceptKind.UNIT: encoder_pb2.CONCEPT_KIND_UNIT,
    ConceptKind.BRAND: encoder_pb2.CONCEPT_KIND_BRAND,
}
_SUGGESTION_KINDS = {
    SuggestionKind.QUERY: encoder_pb2.SUGGESTION_KIND_QUERY,
    SuggestionKind.PRODUCT: encoder_pb2.SUGGESTION_KIND_PRODUCT,
    SuggestionKind.BRAND: encoder_pb2.SUGGESTION_KIND_BRAND,
    SuggestionKind.CATEGORY: encoder_pb2.SUGGESTION_KIND_CATEGORY,
}
_SOURCES = {
    Source.RULE: encoder_pb2.UNDERSTANDING_SOURCE_RULE,
    Source.MODEL: encoder_pb2.UNDERSTANDING_SOURCE_MODEL,
}


def shopper_from_proto(request: encoder_pb2.EncodeQueryRequest) -> str:
    """What tells the shopper from others; may be empty."""
    if problem := id_problem(request.shopper, required=False):
        raise InvalidArgument.of("shopper", problem)
    return request.shopper


def query_context_from_proto(message: encoder_pb2.QueryContext, dimensions: Mapping[str, int]) -> QueryContext:
    """`dimensions` by version of a served model. A session vector of another version, or one of zeros, is ignored."""
    if len(message.category) > MAX_CATEGORY_PATH:
        raise InvalidArgument.of(
            "query_context.category", f"has {len(message.category)} characters; at most {MAX_CATEGORY_PATH}"
        )
    category = message.category.replace(CATEGORY_SEPARATOR, " ").strip()
    version = message.session.model_version
    if not message.HasField("session"):
        return QueryContext(category=category, session_follows=message.session_follows)
    if version not in dimensions:
        return QueryContext(category=category)
    vectors = vectors_from_proto(message.session, "query_context.session")
    if vectors.shape != (1, dimensions[version]):
        raise InvalidArgument.of("query_context.session", f"has shape {vectors.shape}; send [1, {dimensions[version]}]")
    return QueryContext(vectors[0], version, category) if np.any(vectors) else QueryContext(category=category)


def encoded_query_to_proto(
    reading: QueryReading, vectors: Sequence[QueryVectors], stop_words: frozenset[str]
) -> encoder_pb2.EncodeQueryResponse:
    """`vectors` of the first encoder, then of the others. Without the understanding."""
    first, *others = vectors
    return encoder_pb2.EncodeQueryResponse(
        language=detect_language(reading.normal),
        normalized_text=reading.normal,
        corrected_text=reading.corrected,
        retrieval_text=reading.retrieval_text,
        tokens=tokens(reading.retrieval_text, stop_words),
        constraints=map(constraint_to_proto, reading.constraints),
        vector=None if first.in_context is None else vector_to_proto(first.in_context, first.model_version),
        concepts=concepts_to_proto(reading.expansion),
        rendered_text=reading.rendering,
        spelling_alternatives=[one.meant for one in reading.spelling_alternatives],
        doubtful_words=[one.typed for one in reading.spelling_alternatives],
        other_vectors=[
            vector_to_proto(other.in_context, other.model_version) for other in others if other.in_context is not None
        ],
        asked_type=_asked_type_to_proto(reading.asked_type),
        session_mixings=[
            encoder_pb2.SessionMixing(base=vector_to_proto(mixing.base, one.model_version), weight=mixing.weight)
            for one in vectors
            if (mixing := one.mixing) is not None
        ],
    )


def _asked_type_to_proto(asked: AskedType) -> encoder_pb2.AskedType | None:
    if asked.is_empty:
        return None
    return encoder_pb2.AskedType(words=asked.words, names=asked.names, matched_text=asked.matched_text)


def vector_to_proto(vector: FloatArray, model_version: str) -> common_pb2.Vectors:
    """One row, of a vector of shape [dimensions]."""
    return vectors_to_proto(vector[np.newaxis], model_version)


def concepts_to_proto(expansion: Expansion) -> Iterator[encoder_pb2.Concept]:
    """Each concept of each mention. The first concept of a mention carries the expansions of all of them."""
    for found, labels in expansion.labels:
        for position, concept in enumerate(found.concepts[:MAX_MEANINGS]):
            yield encoder_pb2.Concept(
                id=concept.name,
                kind=_CONCEPT_KINDS[concept.kind],
                matched_text=found.text,
                english_label=next(iter(concept.english), ""),
                chinese_label=next(iter(concept.chinese), ""),
                expansions=labels if position == 0 else (),
            )


def constraint_to_proto(constraint: Constraint) -> encoder_pb2.Constraint:
    is_colour = comparison_form(constraint.attribute) in _COLOURS
    message = encoder_pb2.Constraint(
        type=encoder_pb2.CONSTRAINT_TYPE_COLOUR if is_colour else _CONSTRAINT_TYPES[constraint.type],
        matched_text=constraint.matched_text,
        value=constraint.value,
        attribute=constraint.attribute,
        alternatives=constraint.alternatives,
    )
    if constraint.minimum or constraint.maximum:
        message.price.CopyFrom(
            product_pb2.PriceRange(
                minimum=money_to_proto(constraint.minimum) if constraint.minimum else None,
                maximum=money_to_proto(constraint.maximum) if constraint.maximum else None,
            )
        )
    return message


def understanding_to_proto(understanding: Understanding, model_version: str) -> encoder_pb2.Understanding:
    """The labels of intent and sentiment are the names of the enum values in lower case."""
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


def prefix_and_limit(request: encoder_pb2.SuggestRequest) -> tuple[str, int]:
    if len(request.prefix) > MAX_QUERY:
        raise InvalidArgument.of("prefix", f"has {len(request.prefix)} characters; at most {MAX_QUERY}")
    if request.limit < 0:
        raise InvalidArgument.of("limit", f"{request.limit} is negative; send 1 to {MAX_SUGGESTIONS}")
    return request.prefix, min(request.limit or DEFAULT_SUGGESTIONS, MAX_SUGGESTIONS)


def suggestion_to_proto(suggestion: Suggestion) -> encoder_pb2.Suggestion:
    return encoder_pb2.Suggestion(
        text=suggestion.text, kind=_SUGGESTION_KINDS[suggestion.kind], spelling_corrected=suggestion.is_corrected
    )


def products_from_request(request: encoder_pb2.EncodeProductsRequest) -> list[Product]:
    if not request.products:
        raise InvalidArgument.of("products", f"has 0 entries; send 1 to {MAX_PRODUCTS}")
    return _products(request.products)


def lexicon_update_from_request(request: encoder_pb2.UpdateLexiconRequest) -> tuple[list[Product], Sequence[str]]:
    """(products, ids of deleted products)."""
    if len(request.deleted_ids) > MAX_DELETED_IDS:
        raise InvalidArgument.of("deleted_ids", f"has {len(request.deleted_ids)} entries; at most {MAX_DELETED_IDS}")
    for index, id in enumerate(request.deleted_ids):
        if problem := id_problem(id):
            raise InvalidArgument.of(f"deleted_ids[{index}]", problem)
    products = _products(request.products)
    if both := {product.id for product in products}.intersection(request.deleted_ids):
        raise InvalidArgument.of("deleted_ids", f"has {min(both)!r}, which is in products too; send it in one of them")
    return products, request.deleted_ids


def _products(messages: Sequence[product_pb2.Product]) -> list[Product]:
    if len(messages) > MAX_PRODUCTS:
        raise InvalidArgument.of("products", f"has {len(messages)} entries; send at most {MAX_PRODUCTS}")
    products = [product_from_proto(message, f"products[{index}]") for index, message in enumerate(messages)]
    wrong = [
        problem for index, product in enumerate(products) for problem in violations(product, f"products[{index}].")
    ]
    if wrong:
        raise InvalidArgument(*wrong[:MAX_VIOLATIONS])
    return products


def images_from_request(request: encoder_pb2.EncodeProductsRequest) -> list[bytes]:
    """One entry for each product, empty for a product without an image; no entries if the request has no images."""
    if request.images and len(request.images) != len(request.products):
        raise InvalidArgument.of("images", f"has {len(request.images)} entries for {len(request.products)} products")
    return list(request.images)


def encoded_products_to_proto(
    vectors: Sequence[tuple[FloatArray, str]], images: EncodedImages
) -> encoder_pb2.EncodeProductsResponse:
    """`vectors`: (rows of shape [products, dimensions], model version) of the first text encoder, then of others."""
    first, *others = (vectors_to_proto(rows, model_version) for rows, model_version in vectors)
    return encoder_pb2.EncodeProductsResponse(
        vectors=first,
        other_vectors=others,
        image_vectors=None if images.vectors is None else vectors_to_proto(images.vectors, images.model_version),
        image_problems=[
            encoder_pb2.ImageProblem(index=index, reason=reason) for index, reason in sorted(images.problems.items())
        ],
    )
