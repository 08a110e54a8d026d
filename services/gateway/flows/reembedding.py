"""Re-embedding: pages of the catalogue go from retrieval through the encoder into the staged collection."""

from __future__ import annotations

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto
from services.common.errors import InvalidArgument
from services.common.limits import MAX_MODEL_VERSION, MAX_SAMPLE, text_problem
from services.gateway.convert import require_ids, require_model_version
from services.gateway.domain.budget import Stage
from services.gateway.domain.fingerprint import FINGERPRINT_BYTES
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

MAX_PAGE = 500
_DEFAULT_PAGE = 200
# The encoding of this product shows the vector length of a model, and whether the encoder serves it.
_PROBE = product_pb2.Product(id="probe", title="probe")


async def describe_collections(calls: StageCalls, parts: Parts) -> gateway_pb2.DescribeCollectionsResponse:
    ask = retrieval_pb2.DescribeCollectionsRequest()
    found = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.DescribeCollections, ask)
    return gateway_pb2.DescribeCollectionsResponse(
        live=found.live if found.HasField("live") else None,
        staged=found.staged if found.HasField("staged") else None,
        staged_is_previous=found.staged_is_previous,
        text_shadow=found.text_shadow if found.HasField("text_shadow") else None,
    )


async def begin_reembedding(calls: StageCalls, parts: Parts, message: gateway_pb2.BeginReembeddingRequest) -> None:
    """Raises Conflict if the encoder does not serve the model."""
    require_model_version(message)
    model_version = message.model_version
    probe = encoder_pb2.EncodeProductsRequest(products=[_PROBE], model_version=model_version)
    encoded = await calls.call(Stage.QUERY_ENCODER, parts.stubs.encoder.EncodeProducts, probe)
    begin = retrieval_pb2.BeginReembeddingRequest(
        model_version=model_version, dimensions=encoded.vectors.values.shape[1]
    )
    await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.BeginReembedding, begin)


async def reembed_products(
    calls: StageCalls, parts: Parts, message: gateway_pb2.ReembedProductsRequest
) -> gateway_pb2.ReembedProductsResponse:
    require_model_version(message)
    if not 0 <= message.limit <= MAX_PAGE:
        raise InvalidArgument.of("limit", f"{message.limit} is outside 0 to {MAX_PAGE}; 0 means {_DEFAULT_PAGE}")
    page = retrieval_pb2.ListUnembeddedProductsRequest(
        page_token=message.page_token, limit=message.limit or _DEFAULT_PAGE
    )
    missing = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.ListUnembeddedProducts, page)
    stored_count = 0
    if missing.ids:
        products = [product_pb2.Product.FromString(data) for data in missing.products]
        encode = encoder_pb2.EncodeProductsRequest(products=products, model_version=message.model_version)
        encoded = await calls.call(Stage.QUERY_ENCODER, parts.stubs.encoder.EncodeProducts, encode)
        store = retrieval_pb2.StoreEmbeddingsRequest(
            ids=missing.ids, fingerprints=missing.fingerprints, vectors=encoded.vectors
        )
        stored = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.StoreEmbeddings, store)
        stored_count = stored.stored_count
    return gateway_pb2.ReembedProductsResponse(
        compared_count=missing.compared_count,
        missing_count=len(missing.ids),
        stored_count=stored_count,
        next_page_token=missing.next_page_token,
    )


async def store_embeddings(
    calls: StageCalls, parts: Parts, message: gateway_pb2.StoreEmbeddingsRequest
) -> gateway_pb2.StoreEmbeddingsResponse:
    require_ids("ids", message.ids, MAX_PAGE)
    if len(message.fingerprints) != len(message.ids):
        raise InvalidArgument.of(
            "fingerprints", f"has {len(message.fingerprints)} entries for {len(message.ids)} ids; send one each"
        )
    for index, digest in enumerate(message.fingerprints):
        if len(digest) != FINGERPRINT_BYTES:
            raise InvalidArgument.of(f"fingerprints[{index}]", f"has {len(digest)} bytes; send {FINGERPRINT_BYTES}")
    if problem := text_problem(message.vectors.model_version, MAX_MODEL_VERSION):
        raise InvalidArgument.of("vectors.model_version", problem)
    if len(vectors_from_proto(message.vectors, "vectors")) != len(message.ids):
        raise InvalidArgument.of(
            "vectors.values.shape", f"has other rows than {len(message.ids)}; send one for each id"
        )
    store = retrieval_pb2.StoreEmbeddingsRequest(
        ids=message.ids, fingerprints=message.fingerprints, vectors=message.vectors
    )
    stored = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.StoreEmbeddings, store)
    return gateway_pb2.StoreEmbeddingsResponse(stored_count=stored.stored_count)


async def check_embeddings(
    calls: StageCalls, parts: Parts, message: gateway_pb2.CheckEmbeddingsRequest
) -> gateway_pb2.CheckEmbeddingsResponse:
    if not 0 <= message.sample_size <= MAX_SAMPLE:
        raise InvalidArgument.of(
            "sample_size", f"{message.sample_size} is outside 0 to {MAX_SAMPLE}; 0 means the default"
        )
    check = retrieval_pb2.CheckEmbeddingsRequest(sample_size=message.sample_size)
    figures = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.CheckEmbeddings, check)
    return gateway_pb2.CheckEmbeddingsResponse(figures=figures)


async def switch_collections(calls: StageCalls, parts: Parts, message: gateway_pb2.SwitchCollectionsRequest) -> None:
    require_model_version(message)
    switch = retrieval_pb2.SwitchCollectionsRequest(model_version=message.model_version)
    await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.SwitchCollections, switch)


async def drop_collection(calls: StageCalls, parts: Parts, message: gateway_pb2.DropCollectionRequest) -> None:
    require_model_version(message)
    drop = retrieval_pb2.DropCollectionRequest(model_version=message.model_version)
    await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.DropCollection, drop)
