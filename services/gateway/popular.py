"""Keeps the shop's popular items in memory, so that there is an answer while retrieval is down."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import structlog

from kairos.common.v1 import common_pb2, product_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.context import RequestContext
from services.common.convert import context_to_proto
from services.gateway.adapters.stage_clients import StageClients
from services.gateway.domain.budget import Stage
from services.gateway.memory import Memory
from services.gateway.settings import SearchSettings

_TIMEOUT_S = 5.0
_log = structlog.get_logger("kairos.popular")


class PopularItems:
    """Refreshes every tenant that was seen, over and over, in the background."""

    def __init__(self, clients: StageClients, memory: Memory, settings: SearchSettings) -> None:
        self._clients, self._memory, self._settings = clients, memory, settings
        self._task = asyncio.create_task(self._refresh_forever())

    def close(self) -> None:
        self._task.cancel()

    async def refresh(self, tenant: str) -> None:
        """Most acted on first, then the newest of the catalogue, up to the configured number."""
        count = self._settings.popular_items
        popular = await self._clients.ranker.ListPopularItems(
            ranker_pb2.ListPopularItemsRequest(context=_context(tenant), limit=count), **_options(Stage.RANKER)
        )
        products: list[bytes] = []
        if popular.item_ids:
            found = await self._clients.retrieval.LookupProducts(
                retrieval_pb2.LookupProductsRequest(context=_context(tenant), ids=popular.item_ids, with_products=True),
                **_options(Stage.RETRIEVAL),
            )
            products.extend(found.candidates.products)
        if len(products) < count:
            newest = await self._clients.retrieval.RetrieveCandidates(
                retrieval_pb2.RetrieveCandidatesRequest(
                    context=_context(tenant),
                    sort=product_pb2.SORT_ORDER_NEWEST,
                    limit=count - len(products),
                    excluded_ids=popular.item_ids,
                ),
                **_options(Stage.RETRIEVAL),
            )
            products.extend(newest.candidates.products)
        self._memory.set_popular(tenant, [product_pb2.Product.FromString(data) for data in products])

    async def _refresh_forever(self) -> None:
        while True:
            for tenant in self._memory.tenants():
                try:
                    await self.refresh(tenant)
                except grpc.aio.AioRpcError as error:  # what is in memory stays
                    _log.info("popular items not refreshed", tenant=tenant, code=error.code().name)
            # An empty memory is filled soon; a full one in peace.
            empty = any(
                not self._memory.popular(tenant, product_pb2.ProductFilter()) for tenant in self._memory.tenants()
            )
            await asyncio.sleep(1.0 if empty else self._settings.popular_refresh_s)


def _context(tenant: str) -> common_pb2.RequestContext:
    return context_to_proto(RequestContext("popular", tenant, deadline_s=time.monotonic() + _TIMEOUT_S))


def _options(stage: Stage) -> dict[str, Any]:
    return {"timeout": _TIMEOUT_S, "metadata": (("application", stage.value),)}
