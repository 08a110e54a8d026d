"""GetProduct, ListProducts and DeleteProducts."""

from __future__ import annotations

from collections.abc import Sequence

from kairos.common.v1 import offer_pb2, product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import InvalidArgument, NotFound
from services.gateway.convert import check_texts, require_id, require_ids
from services.gateway.domain.budget import Stage
from services.gateway.flows.disclosure import disclosed_product
from services.gateway.flows.variants import other_variants
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

MAX_IDS = 1_000
DEFAULT_LISTED = 200
MAX_LISTED = 500


async def get_product(calls: StageCalls, parts: Parts, id: str) -> gateway_pb2.GetProductResponse:
    require_id("id", id)
    lookup = retrieval_pb2.LookupProductsRequest(ids=[id], with_products=True)
    found = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.LookupProducts, lookup)
    if found.missing_ids:
        raise NotFound(f"there is no product {id!r}")
    product = product_pb2.Product.FromString(found.candidates.products[0])
    variants = await other_variants(calls, parts, [product], offer_pb2.OfferContext())
    return gateway_pb2.GetProductResponse(product=disclosed_product(calls.info, product), variants=variants.get(id, ()))


async def list_products(
    calls: StageCalls, parts: Parts, message: gateway_pb2.ListProductsRequest
) -> gateway_pb2.ListProductsResponse:
    check_texts(message)
    if message.page_size < 0:
        raise InvalidArgument.of("page_size", f"{message.page_size} is negative; send 1 to {MAX_LISTED}")
    ask = retrieval_pb2.ListProductsRequest(
        page_token=message.page_token, limit=min(message.page_size or DEFAULT_LISTED, MAX_LISTED),
        with_products=not message.ids_only, with_vectors=message.with_vectors,
    )  # fmt: skip
    found = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.ListProducts, ask)
    response = gateway_pb2.ListProductsResponse(
        next_page_token=found.next_page_token, is_last_page=found.is_last_page, is_restarted=found.is_restarted,
        request_id=calls.info.request_id,
    )  # fmt: skip
    for field in ("vectors", "image_vectors"):
        if found.HasField(field):
            getattr(response, field).CopyFrom(getattr(found, field))
    if message.ids_only:
        for id in found.ids:
            response.products.add().product.id = id
    for data, offers in zip(found.products, found.offers, strict=True):
        response.products.add(product=product_pb2.Product.FromString(data), offers=offers.offers)
    return response


async def delete_products(calls: StageCalls, parts: Parts, ids: Sequence[str]) -> gateway_pb2.DeleteProductsResponse:
    require_ids("ids", ids, MAX_IDS)
    remove = retrieval_pb2.RemoveProductsRequest(ids=ids)
    answer = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.RemoveProducts, remove)
    # Also of ids that retrieval does not have: the call may be the repetition of one that failed here.
    forget = encoder_pb2.UpdateLexiconRequest(deleted_ids=dict.fromkeys(ids))
    await calls.call(Stage.QUERY_ENCODER, parts.stubs.encoder.UpdateLexicon, forget)
    return gateway_pb2.DeleteProductsResponse(deleted_count=answer.removed_count, missing_ids=answer.missing_ids)
