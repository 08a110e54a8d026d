"""The other variants of the products that are shown."""

from __future__ import annotations

from collections.abc import Sequence

from kairos.common.v1 import offer_pb2, product_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.gateway import fallbacks
from services.gateway.domain.budget import Stage
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls


async def other_variants(
    calls: StageCalls,
    parts: Parts,
    products: Sequence[product_pb2.Product],
    context: offer_pb2.OfferContext,
    later: Sequence[Stage] = (),
) -> dict[str, list[product_pb2.Variant]]:
    """By product id, without the product itself; empty for a product without a group, and if retrieval is late."""
    groups = {product.item_group_id: product.id for product in products if product.item_group_id}
    if not groups:
        return {}
    ask = retrieval_pb2.ListVariantsRequest(item_group_ids=groups, offer_context=context)
    answer = await calls.call_or_degrade(
        Stage.RETRIEVAL, parts.stubs.retrieval.ListVariants, ask, later, fallbacks.NO_VARIANTS
    )
    if answer is None:
        return {}
    shown = {product.id for product in products}
    return {
        groups[group.item_group_id]: [variant for variant in group.variants if variant.product_id not in shown]
        for group in answer.groups
    }
