"""A cache of each tenant's popular items: the answer while retrieval is late or down. Refreshed in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import structlog

from kairos.common.v1 import product_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import KairosError
from services.common.filters import ProductFilter, matches
from services.common.product import Product
from services.common.visibility import GENERAL, SEES_ALL, Viewing
from services.gateway.background.supervisor import Supervisor
from services.gateway.domain.budget import Stage
from services.gateway.domain.effective_offer import EffectiveOffer
from services.gateway.flows.candidates import offered
from services.gateway.flows.effective_offers import offers_of
from services.gateway.ports import StageStubs
from services.gateway.settings import SearchSettings
from services.gateway.stage_calls import StageAccess

_TIMEOUT_S = 5.0
# While the cache of a tenant is empty.
_EMPTY_REFRESH_S = 1.0

_log = structlog.get_logger("kairos.popular")


class _CachedProduct(NamedTuple):
    """`product` has the price and stock of the effective offer, as filters see them. `own`: what is offered without
    computed prices.
    """

    serialized: bytes
    product: Product
    offer: EffectiveOffer | None
    own: EffectiveOffer | None


class PopularItems:
    def __init__(
        self, stubs: StageStubs, access: StageAccess, settings: SearchSettings, supervisor: Supervisor
    ) -> None:
        self._stubs, self._access, self._settings, self._supervisor = stubs, access, settings, supervisor
        self._products: dict[str, list[_CachedProduct]] = {}

    def start(self) -> None:
        """Refreshes every tracked tenant from now on. Needs a running event loop."""
        self._supervisor.keep("popular_items", self._refresh_forever)

    def track(self, tenant: str) -> None:
        """From now on the tenant's popular items are cached."""
        self._products.setdefault(tenant, [])

    def matching(
        self,
        tenant: str,
        narrowing: ProductFilter,
        is_excluded: Callable[[Product], bool] = lambda _: False,
        viewing: Viewing = GENERAL,
    ) -> dict[str, bytes]:
        """Serialized products by id that match and are shown there, the most popular first."""
        return {
            cached.product.id: cached.serialized
            for cached in self._of(tenant)
            if cached.product.visibility.shows_to(viewing)
            and matches(cached.product, narrowing)
            and not is_excluded(cached.product)
        }

    def offers(self, tenant: str) -> dict[str, EffectiveOffer]:
        """Those of the default price list, by product id: no other ones are known here."""
        return {entry.product.id: entry.offer for entry in self._of(tenant) if entry.offer is not None}

    async def refresh(self, tenant: str) -> None:
        """The products that users act on most, then the newest, up to `popular_items`. Raises KairosError."""
        calls = self._access.for_background("popular", tenant, _TIMEOUT_S, viewing=SEES_ALL)
        count, retrieval = self._settings.popular_items, self._stubs.retrieval
        ask = ranker_pb2.ListPopularItemsRequest(limit=count)
        popular = await calls.call(Stage.RANKER, self._stubs.ranker.ListPopularItems, ask)
        products: list[_CachedProduct] = []
        if popular.item_ids:
            lookup = retrieval_pb2.LookupProductsRequest(ids=popular.item_ids, with_products=True)
            found = await calls.call(Stage.RETRIEVAL, retrieval.LookupProducts, lookup)
            products.extend(_cached(found.candidates))
        if len(products) < count:
            browse = retrieval_pb2.RetrieveCandidatesRequest(
                sort=product_pb2.SORT_ORDER_NEWEST, limit=count - len(products), excluded_ids=popular.item_ids
            )
            newest = await calls.call(Stage.RETRIEVAL, retrieval.RetrieveCandidates, browse)
            products.extend(_cached(newest.candidates))
        self._products[tenant] = products

    def _of(self, tenant: str) -> Iterable[_CachedProduct]:
        """With the shop's prices while computed ones are switched off."""
        cached = self._products.get(tenant, ())
        return map(_without_computed, cached) if self._access.list_price_only(tenant) else cached

    async def _refresh_forever(self) -> None:
        while True:
            for tenant in list(self._products):
                try:
                    await self.refresh(tenant)
                except KairosError as error:  # the cached products stay
                    _log.info("popular items not refreshed", tenant=tenant, error=str(error))
                except Exception:  # a defect with one tenant's products must not keep others from being refreshed
                    self._supervisor.failed("popular_items", f"popular items of {tenant} not refreshed")
            is_complete = all(self._products.values())
            await asyncio.sleep(self._settings.popular_refresh_s if is_complete else _EMPTY_REFRESH_S)


def _cached(candidates: retrieval_pb2.Candidates) -> Iterator[_CachedProduct]:
    offers, own = offers_of(candidates), offers_of(candidates, list_price_only=True)
    for data, product in zip(candidates.products, offered(candidates), strict=True):
        yield _CachedProduct(data, product, offers.get(product.id), own.get(product.id))


def _without_computed(cached: _CachedProduct) -> _CachedProduct:
    price = cached.own.price if cached.own else None
    return cached._replace(product=replace(cached.product, price=price), offer=cached.own)
