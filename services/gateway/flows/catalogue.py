"""GetProduct and DeleteProducts."""

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
    lookup = retrieval_pb2.LookupProductsRequest(ids=[id], with_products=True)
    found = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.LookupProducts, lookup)
    if found.missing_ids:
        raise NotFound(f"there is no product {id!r}")
    return disclosed_product(calls.info, product_pb2.Product.FromString(found.candidates.products[0]))


async def delete_products(calls: StageCalls, parts: Parts, ids: Sequence[str]) -> gateway_pb2.DeleteProductsResponse:
    require_ids("ids", ids, MAX_IDS)
    remove = retrieval_pb2.RemoveProductsRequest(ids=ids)
    answer = await calls.call(Stage.RETRIEVAL, parts.stubs.retrieval.RemoveProducts, remove)
    return gateway_pb2.DeleteProductsResponse(deleted_count=answer.removed_count, missing_ids=answer.missing_ids)
