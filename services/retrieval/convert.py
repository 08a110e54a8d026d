"""Protobuf <-> domain for retrieval. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from kairos.common.v1 import common_pb2, product_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import (
    fill_vectors,
    filter_from_proto,
    money_to_proto,
    price_range_to_proto,
    product_from_proto,
    vectors_from_proto,
)
from services.common.convert_moderation import moderated_from_proto
from services.common.convert_offers import offer_to_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.filters import ProductFilter, SortOrder, filter_violations
from services.common.limits import MAX_QUERY, text_problem
from services.common.product import violations
from services.common.visibility import Moderated
from services.retrieval.convert_offers import offer_context_from_proto
from services.retrieval.domain.candidates import Attributes, Candidates, IndexedProduct, ReviewSummary
from services.retrieval.domain.catalogue.matching import MatchLevel
from services.retrieval.domain.cursor import Cursor
from services.retrieval.domain.facets import CountAccuracy, Facet, FacetRange
from services.retrieval.domain.no_good_match import HelpKind, Reason
from services.retrieval.domain.query import (
    DEFAULT_LIMIT,
    MAX_OTHER_MODELS,
    AskedType,
    MatchGroup,
    ProductName,
    RetrievalQuery,
    SpellingAlternative,
)
from services.retrieval.domain.retrieval import Degradation, DegradationReason, Retrieval
from services.retrieval.listing import Completed, ListedPage, Variant
from services.retrieval.ports import Vectors

MAX_UPSERT = 512
# A shop has few combinations of attribute values that users may declare, and each of them many times.
_REMEMBERED_ATTRIBUTES = 16_384
MAX_FINGERPRINT = 64
DEFAULT_LISTED, MAX_LISTED = 200, 512
DEFAULT_COMPLETED, MAX_COMPLETED = 8, 20

_SORTS = {
    product_pb2.SORT_ORDER_UNSPECIFIED: SortOrder.RELEVANCE,
    product_pb2.SORT_ORDER_RELEVANCE: SortOrder.RELEVANCE,
    product_pb2.SORT_ORDER_PRICE_ASCENDING: SortOrder.PRICE_ASCENDING,
    product_pb2.SORT_ORDER_PRICE_DESCENDING: SortOrder.PRICE_DESCENDING,
    product_pb2.SORT_ORDER_NEWEST: SortOrder.NEWEST,
}
_ACCURACIES = {
    CountAccuracy.EXACT: product_pb2.COUNT_ACCURACY_EXACT,
    CountAccuracy.LOWER_BOUND: product_pb2.COUNT_ACCURACY_LOWER_BOUND,
}
_LEVELS = {
    MatchLevel.EVERYTHING: retrieval_pb2.MATCH_LEVEL_UNSPECIFIED,
    MatchLevel.ALL_WORDS: retrieval_pb2.MATCH_LEVEL_ALL_WORDS,
    MatchLevel.ANY_WORD: retrieval_pb2.MATCH_LEVEL_ANY_WORD,
    MatchLevel.CANDIDATES: retrieval_pb2.MATCH_LEVEL_CANDIDATES,
}
_REASONS = {
    DegradationReason.ERROR: common_pb2.DEGRADATION_REASON_ERROR,
    DegradationReason.MODEL_VERSION_MISMATCH: common_pb2.DEGRADATION_REASON_MODEL_VERSION_MISMATCH,
    DegradationReason.NO_PICTURE: common_pb2.DEGRADATION_REASON_NO_PICTURE,
    DegradationReason.NO_BUDGET: common_pb2.DEGRADATION_REASON_SKIPPED_NO_BUDGET,
}
_NO_GOOD_MATCH_REASONS = {
    Reason.WORDS: retrieval_pb2.NO_GOOD_MATCH_REASON_WORDS,
    Reason.CONDITIONS: retrieval_pb2.NO_GOOD_MATCH_REASON_CONDITIONS,
}
_HELP_KINDS = {kind: retrieval_pb2.HelpKind.Value(f"HELP_KIND_{kind.name}") for kind in HelpKind}


def query_from_proto(message: retrieval_pb2.RetrieveCandidatesRequest) -> RetrievalQuery:
    """Bounds are checked by RetrievalQuery.check."""
    vectors = None
    if message.HasField("query_vectors"):
        vectors = vectors_from_proto(message.query_vectors, "query_vectors")
    image = vectors_from_proto(message.image_vector, "image_vector") if message.HasField("image_vector") else None
    shopper = (
        vectors_from_proto(message.shopper_vector, "shopper_vector") if message.HasField("shopper_vector") else None
    )
    sort = _SORTS.get(message.sort)
    if sort is None:
        raise InvalidArgument.of("sort", f"{message.sort} is unknown; use a SortOrder")
    return RetrievalQuery(
        text=message.text,
        vectors=vectors,
        model_version=message.query_vectors.model_version,
        weights=tuple(message.query_vector_weights),
        filter=filter_from_proto(message.filter, "filter"),
        soft_filter=filter_from_proto(message.soft_filter, "soft_filter"),
        excluded_ids=tuple(message.excluded_ids),
        excluded_filters=tuple(
            filter_from_proto(excluded, f"excluded_filters[{index}]")
            for index, excluded in enumerate(message.excluded_filters)
        ),
        limit=message.limit or DEFAULT_LIMIT,
        sort=sort,
        facets=tuple(message.facets),
        with_vectors=message.with_vectors,
        image=image,
        image_model_version=message.image_vector.model_version,
        similar_to_id=message.similar_to_id,
        other_vectors=tuple(
            (vectors_from_proto(others, f"other_query_vectors[{index}]"), others.model_version)
            for index, others in enumerate(message.other_query_vectors)
        ),
        cursor=Cursor.from_token(message.page_token) if message.page_token else None,
        offers=offer_context_from_proto(message.offer_context),
        is_collapsed=message.collapse == product_pb2.COLLAPSE_MODE_GROUP,
        match_groups=tuple(MatchGroup(tuple(group.alternatives), group.is_condition) for group in message.match_groups),
        best_facet_count=message.best_facet_count,
        identifier_text=message.identifier_text,
        shopper=shopper,
        shopper_version=message.shopper_version if shopper is None else message.shopper_vector.model_version,
        shopper_like_ids=tuple(message.shopper_like_ids),
        excluded_words=tuple(message.excluded_words),
        phrases=tuple(message.phrases),
        asked_type=AskedType(
            tuple(message.asked_type.words), tuple(message.asked_type.names), message.asked_type.matched_text
        ),
        spelling_alternatives=tuple(SpellingAlternative(one.typed, one.meant) for one in message.spelling_alternatives),
        accessories_for=tuple(ProductName(named.title, named.brand) for named in message.accessories_for),
    )


def soft_filter_from_proto(message: retrieval_pb2.LookupProductsRequest) -> ProductFilter | None:
    """None without conditions."""
    if not message.HasField("soft_filter"):
        return None
    soft_filter = filter_from_proto(message.soft_filter, "soft_filter")
    if wrong := tuple(filter_violations(soft_filter, "soft_filter")):
        raise InvalidArgument(*wrong)
    return soft_filter


def upsert_from_proto(
    message: retrieval_pb2.UpsertProductsRequest,
) -> tuple[list[IndexedProduct], Vectors | None, Vectors | None, list[Vectors]]:
    """(products, vectors or None, image vectors or None, other models' vectors). Names all wrong fields at once."""
    count = len(message.products)
    if not 1 <= count <= MAX_UPSERT:
        raise InvalidArgument.of("products", f"has {count} entries; 1 to {MAX_UPSERT}")
    if message.fingerprints and len(message.fingerprints) != count:
        raise InvalidArgument.of("fingerprints", f"has {len(message.fingerprints)} entries for {count} products")
    for index, fingerprint in enumerate(message.fingerprints):
        if len(fingerprint) > MAX_FINGERPRINT:
            raise InvalidArgument.of(f"fingerprints[{index}]", f"has {len(fingerprint)} bytes; at most 64")
    if len(message.other_vectors) > MAX_OTHER_MODELS:
        raise InvalidArgument.of(
            "other_vectors", f"has {len(message.other_vectors)} entries; at most {MAX_OTHER_MODELS}"
        )
    products = _products(message)
    vectors, images = (
        rows_from_proto(getattr(message, field), field, count) if message.HasField(field) else None
        for field in ("vectors", "image_vectors")
    )
    others = [
        rows_from_proto(given, f"other_vectors[{index}]", count) for index, given in enumerate(message.other_vectors)
    ]
    return products, vectors, images, others


def variants_to_proto(groups: Sequence[Sequence[Variant]]) -> retrieval_pb2.ListVariantsResponse:
    return retrieval_pb2.ListVariantsResponse(groups=map(_group_to_proto, groups))


def _group_to_proto(variants: Sequence[Variant]) -> retrieval_pb2.VariantGroup:
    group = retrieval_pb2.VariantGroup()
    for variant in variants:
        product = product_pb2.Product.FromString(variant.product)
        group.item_group_id = product.item_group_id
        message = group.variants.add(product_id=product.id, in_stock=variant.in_stock, image_uri=product.image_uri)
        for name in product.variant_attributes:
            if name in product.attributes:
                message.attributes[name].CopyFrom(product.attributes[name])
        if variant.price is not None:
            message.price.CopyFrom(money_to_proto(variant.price))
    return group


def listed_to_proto(page: ListedPage, with_products: bool) -> retrieval_pb2.ListProductsResponse:
    message = retrieval_pb2.ListProductsResponse(
        ids=[listed.id for listed in page.products], next_page_token=page.next_page_token,
        is_last_page=page.is_last, is_restarted=page.is_restarted,
    )  # fmt: skip
    if with_products:
        message.products.extend(listed.product for listed in page.products)
        for listed in page.products:
            offers = [offer_to_proto(listed.id, offer) for offer in listed.offers]
            message.offers.append(retrieval_pb2.ProductOffers(offers=offers))
    for field, vectors in (("vectors", page.vectors), ("image_vectors", page.image_vectors)):
        if vectors is not None:
            fill_vectors(getattr(message, field), vectors.values.astype(np.float16), vectors.model_version)
    return message


def completed_to_proto(found: Sequence[Completed]) -> retrieval_pb2.CompleteIdentifiersResponse:
    return retrieval_pb2.CompleteIdentifiersResponse(
        identifiers=[
            retrieval_pb2.CompletedIdentifier(
                identifier=entry.identifier, product_id=entry.product.id, title=entry.product.title
            )
            for entry in found
        ]
    )


def listed_from_proto(message: retrieval_pb2.ListProductsRequest) -> tuple[str, int]:
    """(page token, limit)."""
    if not 0 <= message.limit <= MAX_LISTED:
        raise InvalidArgument.of("limit", f"{message.limit} is outside 0 to {MAX_LISTED}; 0 means {DEFAULT_LISTED}")
    return message.page_token, message.limit or DEFAULT_LISTED


def prefix_from_proto(message: retrieval_pb2.CompleteIdentifiersRequest) -> tuple[str, int]:
    """(prefix, limit)."""
    if problem := text_problem(message.prefix, MAX_QUERY):
        raise InvalidArgument.of("prefix", problem)
    if not 0 <= message.limit <= MAX_COMPLETED:
        raise InvalidArgument.of(
            "limit", f"{message.limit} is outside 0 to {MAX_COMPLETED}; 0 means {DEFAULT_COMPLETED}"
        )
    return message.prefix, message.limit or DEFAULT_COMPLETED


def rows_from_proto(message: common_pb2.Vectors, field: str, count: int) -> Vectors:
    """One for each of `count` products."""
    values = vectors_from_proto(message, field)
    if len(values) != count:
        raise InvalidArgument.of(f"{field}.values.shape", f"has {len(values)} rows for {count} products")
    return Vectors(values, message.model_version)


def retrieval_to_proto(retrieval: Retrieval) -> retrieval_pb2.RetrieveCandidatesResponse:
    message = retrieval_pb2.RetrieveCandidatesResponse(
        facets=[_facet_to_proto(facet) for facet in retrieval.facets],
        total_size=retrieval.total_size,
        soft_filter_applied=retrieval.soft_filter_applied,
        degradations=[_degradation_to_proto(degradation) for degradation in retrieval.degradations],
        model_version=retrieval.model_version,
        next_page_token="" if retrieval.next is None else retrieval.next.to_token(),
        total_accuracy=_ACCURACIES[retrieval.total_accuracy],
        match_level=_LEVELS[retrieval.match_level],
        product_type=retrieval.product_type,
        also_searched=[
            retrieval_pb2.SpellingAlternative(typed=one.typed, meant=one.meant) for one in retrieval.also_searched
        ],
    )
    _fill(message.candidates, retrieval.candidates, retrieval.model_version)
    if retrieval.assessment is not None:
        message.assessment.relevance = retrieval.assessment.best
        message.assessment.missing_words.extend(retrieval.assessment.missing_words)
        for name, value in vars(retrieval.assessment.evidence).items():
            setattr(message.assessment.evidence, name, value)
    if retrieval.no_good_match is not None:
        message.no_good_match.reason = _NO_GOOD_MATCH_REASONS[retrieval.no_good_match.reason]
        for help in retrieval.no_good_match.helps:
            message.no_good_match.helps.add(
                kind=_HELP_KINDS[help.kind], value=help.value, replacement=help.replacement, count=help.count
            )
    return message


def lookup_to_proto(
    candidates: Candidates, missing_ids: Sequence[str], model_version: str
) -> retrieval_pb2.LookupProductsResponse:
    message = retrieval_pb2.LookupProductsResponse(
        missing_ids=missing_ids, fingerprints=candidates.fingerprints, model_version=model_version
    )
    _fill(message.candidates, candidates, model_version)
    return message


def _fill(message: retrieval_pb2.Candidates, candidates: Candidates, model_version: str) -> None:
    """In place: a message that is given to another one is copied."""
    message.SetInParent()
    columns = {
        "ids": candidates.ids,
        "scores": candidates.scores.tolist(),
        "dense_scores": candidates.dense_scores.tolist(),
        "lexical_scores": candidates.lexical_scores.tolist(),
        "prices": candidates.prices.tolist(),
        "currencies": candidates.currencies,
        "categories": candidates.categories,
        "brands": candidates.brands,
        "stocks": candidates.stocks.tolist(),
        "created_at_seconds": candidates.created_at_seconds.tolist(),
        "products": candidates.products,
        "item_group_ids": candidates.groups,
        "costs": candidates.costs.tolist(),
        "product_types": candidates.product_types,
    }
    for name in (
        "image_scores", "list_prices", "lowest_prices_30_days", "price_guardrails", "variant_counts",
        "identifier_matches", "match_counts", "tiers", "meets_soft_filter", "type_gains", "relevances",
        "review_sentiments",
    ):  # fmt: skip
        column = getattr(candidates, name)
        if column is not None:
            columns[name] = column.tolist()
    if candidates.attributes:
        serialised = {
            id(each): _attributes(each) for each in {id(each): each for each in candidates.attributes}.values()
        }
        columns["attributes"] = [serialised[id(each)] for each in candidates.attributes]
    for name, values in columns.items():
        getattr(message, name).extend(values)
    if candidates.vectors is not None:
        fill_vectors(message.vectors, candidates.vectors, model_version)


def _serialised(column: Sequence[Attributes]) -> list[bytes]:
    # By object: most candidates share one, and comparing nested tuples takes longer.
    known: dict[int, bytes] = {}
    for each in column:
        if id(each) not in known:
            known[id(each)] = _attributes(each)
    return [known[id(each)] for each in column]


@lru_cache(_REMEMBERED_ATTRIBUTES)
def _attributes(attributes: Attributes) -> bytes:
    """Serialised, with the names in the order given: equal bytes for equal attributes."""
    product = product_pb2.Product()
    for name, values in attributes:
        product.attributes[name].values.extend(values)
    return product.SerializeToString(deterministic=True)


def summaries_from_proto(message: retrieval_pb2.SetReviewSummariesRequest) -> dict[str, ReviewSummary | None]:
    """By product id. Raises InvalidArgument for a repeated id."""
    changes: dict[str, ReviewSummary | None] = {}
    for index, entry in enumerate(message.products):
        if entry.id in changes:
            raise InvalidArgument.of(f"products[{index}].id", f"{entry.id!r} came before; send it once")
        its = entry.summary
        summary = ReviewSummary(its.count, its.mean, its.rating, its.sentiment)
        changes[entry.id] = summary if entry.HasField("summary") else None
    return changes


def moderation_from_proto(message: retrieval_pb2.SetModerationRequest) -> dict[str, Moderated | None]:
    """By product id. Raises InvalidArgument for a repeated id."""
    changes: dict[str, Moderated | None] = {}
    for index, entry in enumerate(message.products):
        if entry.id in changes:
            raise InvalidArgument.of(f"products[{index}].id", f"{entry.id!r} came before; send it once")
        changes[entry.id] = moderated_from_proto(entry.moderation) if entry.HasField("moderation") else None
    return changes


def _products(message: retrieval_pb2.UpsertProductsRequest) -> list[IndexedProduct]:
    wrong: list[FieldViolation] = []
    products = []
    places: dict[str, int] = {}
    for index, entry in enumerate(message.products):
        product = product_from_proto(entry, f"products[{index}]")
        wrong += violations(product, f"products[{index}].")
        first = places.setdefault(product.id, index)
        if first != index:
            wrong.append(FieldViolation(f"products[{index}].id", f"{product.id!r} is also products[{first}].id"))
        fingerprint = message.fingerprints[index] if message.fingerprints else b""
        products.append(IndexedProduct(product, entry.SerializeToString(), fingerprint))
    if wrong:
        raise InvalidArgument(*wrong)
    return products


def _facet_to_proto(facet: Facet) -> product_pb2.Facet:
    counts = [product_pb2.FacetCount(value=entry.value, count=entry.count) for entry in facet.counts]
    return product_pb2.Facet(
        field=facet.field, counts=counts, ranges=map(_range_to_proto, facet.ranges),
        accuracy=_ACCURACIES[facet.accuracy], coverage=facet.coverage,
    )  # fmt: skip


def _range_to_proto(entry: FacetRange) -> product_pb2.FacetRange:
    message = product_pb2.FacetRange(minimum=entry.minimum, maximum=entry.maximum, count=entry.count)
    if entry.price is not None:
        message.price.CopyFrom(price_range_to_proto(entry.price))
    return message


def _degradation_to_proto(degradation: Degradation) -> common_pb2.Degradation:
    return common_pb2.Degradation(
        stage=common_pb2.STAGE_RETRIEVAL,
        reason=_REASONS[degradation.reason],
        fallback=degradation.fallback,
        detail=degradation.detail,
    )
