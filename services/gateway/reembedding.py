"""The catalogue under another model: pages from retrieval through the encoder to the collection beside the live one."""

from __future__ import annotations

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import InvalidArgument
from services.gateway.domain.budget import Stage
from services.gateway.flow import Parts
from services.gateway.stages import Request

MAX_PAGE = 500
_DEFAULT_PAGE = 200
# Encoded to learn how long the model's vectors are, and whether it is served at all.
_PROBE = product_pb2.Product(id="probe", title="probe")


async def describe_collections(request: Request, parts: Parts) -> gateway_pb2.DescribeCollectionsResponse:
    ask = retrieval_pb2.DescribeCollectionsRequest()
    found = await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.DescribeCollections, ask)
    return gateway_pb2.DescribeCollectionsResponse(
        live=found.live if found.HasField("live") else None,
        staged=found.staged if found.HasField("staged") else None,
        staged_is_previous=found.staged_is_previous,
    )


async def begin_reembedding(request: Request, parts: Parts, model_version: str) -> None:
    """Raises Conflict where the encoder does not serve the model."""
    _check_version(model_version)
    probe = encoder_pb2.EncodeProductsRequest(products=[_PROBE], model_version=model_version)
    encoded = await request.call_stage(Stage.QUERY_ENCODER, parts.clients.encoder.EncodeProducts, probe)
    begin = retrieval_pb2.BeginReembeddingRequest(
        model_version=model_version, dimensions=encoded.vectors.values.shape[1]
    )
    await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.BeginReembedding, begin)


async def reembed_products(
    request: Request, parts: Parts, message: gateway_pb2.ReembedProductsRequest
) -> gateway_pb2.ReembedProductsResponse:
    _check_version(message.model_version)
    if not 0 <= message.limit <= MAX_PAGE:
        raise InvalidArgument.of("limit", f"{message.limit} is outside 0 to {MAX_PAGE}; 0 means {_DEFAULT_PAGE}")
    page = retrieval_pb2.ListUnembeddedProductsRequest(
        page_token=message.page_token, limit=message.limit or _DEFAULT_PAGE
    )
    missing = await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.ListUnembeddedProducts, page)
    stored_count = 0
    if missing.ids:
        products = [product_pb2.Product.FromString(data) for data in missing.products]
        encode = encoder_pb2.EncodeProductsRequest(products=products, model_version=message.model_version)
        encoded = await request.call_stage(Stage.QUERY_ENCODER, parts.clients.encoder.EncodeProducts, encode)
        store = retrieval_pb2.StoreEmbeddingsRequest(
            ids=missing.ids, fingerprints=missing.fingerprints, vectors=encoded.vectors
        )
        stored = await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.StoreEmbeddings, store)
        stored_count = stored.stored_count
    return gateway_pb2.ReembedProductsResponse(
        compared_count=missing.compared_count,
        missing_count=len(missing.ids),
        stored_count=stored_count,
        next_page_token=missing.next_page_token,
    )


async def store_embeddings(request: Request, parts: Parts, message: gateway_pb2.StoreEmbeddingsRequest) -> int:
    if not 1 <= len(message.ids) <= MAX_PAGE:
        raise InvalidArgument.of("ids", f"holds {len(message.ids)}; send 1 to {MAX_PAGE}")
    store = retrieval_pb2.StoreEmbeddingsRequest(
        ids=message.ids, fingerprints=message.fingerprints, vectors=message.vectors
    )
    return (await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.StoreEmbeddings, store)).stored_count


async def check_embeddings(
    request: Request, parts: Parts, message: gateway_pb2.CheckEmbeddingsRequest
) -> gateway_pb2.CheckEmbeddingsResponse:
    check = retrieval_pb2.CheckEmbeddingsRequest(sample_size=message.sample_size)
    figures = await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.CheckEmbeddings, check)
    return gateway_pb2.CheckEmbeddingsResponse(figures=figures)


async def switch_collections(request: Request, parts: Parts, model_version: str) -> None:
    switch = retrieval_pb2.SwitchCollectionsRequest(model_version=model_version)
    await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.SwitchCollections, switch)


async def drop_collection(request: Request, parts: Parts, model_version: str) -> None:
    drop = retrieval_pb2.DropCollectionRequest(model_version=model_version)
    await request.call_stage(Stage.RETRIEVAL, parts.clients.retrieval.DropCollection, drop)


def _check_version(model_version: str) -> None:
    if not model_version:
        raise InvalidArgument.of("model_version", "is empty; name a model version")
