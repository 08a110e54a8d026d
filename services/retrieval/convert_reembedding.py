"""Protobuf <-> domain for re-embedding. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Mapping

from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import InvalidArgument
from services.common.limits import MAX_SAMPLE
from services.retrieval.convert import MAX_UPSERT, rows_from_proto
from services.retrieval.domain.reembedding import CollectionState, PairState, Unembedded
from services.retrieval.ports import Vectors

DEFAULT_PAGE, MAX_PAGE = 200, 512
DEFAULT_SAMPLE = 50
MAX_DIMENSIONS = 65_536


def named_model(model_version: str) -> str:
    if not model_version:
        raise InvalidArgument.of("model_version", "is empty; name a model version")
    return model_version


def model_from_proto(message: retrieval_pb2.BeginReembeddingRequest) -> tuple[str, int]:
    """(model version, dimensions)."""
    if not 1 <= message.dimensions <= MAX_DIMENSIONS:
        raise InvalidArgument.of("dimensions", f"{message.dimensions} is outside 1 to {MAX_DIMENSIONS}")
    return named_model(message.model_version), message.dimensions


def page_from_proto(message: retrieval_pb2.ListUnembeddedProductsRequest) -> tuple[int, int]:
    """(point to start from, limit)."""
    if not 0 <= message.limit <= MAX_PAGE:
        raise InvalidArgument.of("limit", f"{message.limit} is outside 0 to {MAX_PAGE}; 0 means {DEFAULT_PAGE}")
    token = message.page_token or "0"
    if not (token.isascii() and token.isdigit() and int(token) < 2**64):
        raise InvalidArgument.of("page_token", "is not a next_page_token of this method")
    return int(token), message.limit or DEFAULT_PAGE


def embeddings_from_proto(message: retrieval_pb2.StoreEmbeddingsRequest) -> Vectors:
    count = len(message.ids)
    if not 1 <= count <= MAX_UPSERT:
        raise InvalidArgument.of("ids", f"has {count} entries; 1 to {MAX_UPSERT}")
    if len(set(message.ids)) != count:
        raise InvalidArgument.of("ids", "names a product twice")
    if len(message.fingerprints) != count:
        raise InvalidArgument.of("fingerprints", f"has {len(message.fingerprints)} entries for {count} ids")
    return rows_from_proto(message.vectors, "vectors", count)


def sample_from_proto(message: retrieval_pb2.CheckEmbeddingsRequest) -> int:
    if not 0 <= message.sample_size <= MAX_SAMPLE:
        raise InvalidArgument.of(
            "sample_size", f"{message.sample_size} is outside 0 to {MAX_SAMPLE}; 0 means {DEFAULT_SAMPLE}"
        )
    return message.sample_size or DEFAULT_SAMPLE


def pair_to_proto(
    state: PairState, replica: str, shadow: tuple[str, Mapping[str, float]] | None
) -> retrieval_pb2.DescribeCollectionsResponse:
    """`shadow`: as TextShadow.of_trial."""
    return retrieval_pb2.DescribeCollectionsResponse(
        live=_collection(state.live), staged=_collection(state.staged), staged_is_previous=state.staged_is_previous,
        text_shadow=None if shadow is None else _text_shadow(replica, *shadow),
    )  # fmt: skip


def unembedded_to_proto(found: Unembedded) -> retrieval_pb2.ListUnembeddedProductsResponse:
    return retrieval_pb2.ListUnembeddedProductsResponse(
        ids=found.ids,
        products=found.products,
        fingerprints=found.fingerprints,
        compared_count=found.compared,
        next_page_token=str(found.after) if found.after else "",
    )


def _text_shadow(replica: str, trial: str, counts: Mapping[str, float]) -> retrieval_pb2.TextShadowCounts:
    return retrieval_pb2.TextShadowCounts(
        trial=trial, replica=replica, request_count=int(counts["requests"]), error_count=int(counts["errors"]),
        agreement=counts["agreement"], seconds=counts["seconds"], seconds_of_current=counts["seconds_of_current"],
    )  # fmt: skip


def _collection(state: CollectionState | None) -> retrieval_pb2.Collection | None:
    if state is None:
        return None
    return retrieval_pb2.Collection(
        model_version=state.model_version,
        dimensions=state.dimensions,
        product_count=state.products,
        without_vector_count=state.without_vector,
        image_model_version=state.image_model_version,
    )
