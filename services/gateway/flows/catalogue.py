"""GetProduct, DeleteProducts, and products by id."""

from __future__ import annotations

from collections.abc import Sequence

from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import NotFound
from services.gateway.convert import require_id, require_ids
from services.gateway.domain.budget import Stage
from services.gateway.flows.disclosure import disclosed_product
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

MAX_IDS = 1_000


async def get_product(calls: StageCalls, parts: Parts, id: str) -> product_pb2.Product:
    require_id("id", id)
    products, missing = await lookup_products(calls, parts, [id])
    if missing:
        raise NotFound(f"there is no product {id!r}")
    return disclosed_product(calls.info, products[0])


async def delete_products(calls: StageCalls, parts: Parts, ids: Sequence[str]) -> gateway_pb2.DeleteProductsResponse:
    require_ids("ids", ids, MAX_IDS)
    remove = retrieval_pb2.RemoveProductsRequest(ids=ids)
    answer = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.RemoveProducts, remove)
    return gateway_pb2.DeleteProductsResponse(deleted_count=answer.removed_count, missing_ids=answer.missing_ids)


async def lookup_products(
    calls: StageCalls, parts: Parts, ids: list[str], later: Sequence[Stage] = ()
) -> tuple[list[product_pb2.Product], list[str]]:
    """(products in the order of `ids`, ids that the catalogue does not have)."""
    lookup = retrieval_pb2.LookupProductsRequest(ids=ids, with_products=True)
    answer = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.LookupProducts, lookup, later)
    return [product_pb2.Product.FromString(data) for data in answer.candidates.products], list(answer.missing_ids)
