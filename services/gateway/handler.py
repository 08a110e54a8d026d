"""GatewayService: check, call the flow, wrap."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from services.common.errors import InvalidArgument
from services.gateway import reembedding
from services.gateway.call import current_call
from services.gateway.catalogue import Import, delete_products, get_product, quote_prices
from services.gateway.domain.budget import RequestBudget, Stage, StageShare
from services.gateway.domain.circuit_breaker import CircuitBreaker
from services.gateway.domain.concurrency_limit import ConcurrencyLimit
from services.gateway.domain.tokens import PageToken, fingerprint
from services.gateway.events import record_events
from services.gateway.explain import asked_of, explain_item
from services.gateway.flow import DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE, Parts, Viewer
from services.gateway.malformed import Malformed
from services.gateway.metrics import Metrics
from services.gateway.public import public
from services.gateway.recommend import recommend
from services.gateway.search import search
from services.gateway.security import Authenticator
from services.gateway.settings import GatewaySettings
from services.gateway.stages import Request, StageHealth
from services.gateway.suggest import suggest
from services.gateway.users import delete_user, export_user, get_profile

MAX_QUERY = 512
MAX_ID = 128


class GatewayHandler(gateway_pb2_grpc.GatewayServiceServicer):
    def __init__(self, parts: Parts, metrics: Metrics, settings: GatewaySettings) -> None:
        self._parts, self._settings, self.metrics = parts, settings, metrics
        limits = settings.limits
        self.authenticator = Authenticator(settings.security)
        self.limit = ConcurrencyLimit(limits.minimum_in_flight, limits.maximum_in_flight, limits.retry_after_ms / 1e3)
        self.stages = {
            stage: StageHealth(
                CircuitBreaker(limits.failures_to_open, limits.open_ms / 1e3), limits.late_is_failure_ms / 1e3
            )
            for stage in Stage
        }

    @public(gateway_pb2.SearchResponse)
    async def Search(self, message: gateway_pb2.SearchRequest) -> gateway_pb2.SearchResponse:
        _check_search(message)
        request, viewer = self._read_request(message.locale), self._viewer(message, message.query)
        message.page_size = viewer.page_size
        response = await search(request, self._parts, message, viewer)
        self._adapt(request, "Search")
        return response

    @public(gateway_pb2.SuggestResponse)
    async def Suggest(self, message: gateway_pb2.SuggestRequest) -> gateway_pb2.SuggestResponse:
        return await suggest(self._read_request(message.locale), self._parts, message)

    @public(gateway_pb2.RecommendResponse)
    async def Recommend(self, message: gateway_pb2.RecommendRequest) -> gateway_pb2.RecommendResponse:
        request = self._read_request(message.locale)
        response = await recommend(request, self._parts, message, self._viewer(message, ""))
        self._adapt(request, "Recommend")
        return response

    @public(gateway_pb2.ExplainItemResponse)
    async def ExplainItem(self, message: gateway_pb2.ExplainItemRequest) -> gateway_pb2.ExplainItemResponse:
        if not 1 <= len(message.item_id) <= MAX_ID:
            raise InvalidArgument.of("item_id", f"has {len(message.item_id)} characters; send 1 to {MAX_ID}")
        asked = asked_of(message)
        if isinstance(asked, gateway_pb2.SearchRequest):
            _check_search(asked)
        asked.page_size = self._viewer(asked, "").page_size
        request = self._read_request(asked.locale, self._settings.budget.explain_ms)
        return await explain_item(request, self._parts, message)

    @public(gateway_pb2.QuotePricesResponse)
    async def QuotePrices(self, message: gateway_pb2.QuotePricesRequest) -> gateway_pb2.QuotePricesResponse:
        return await quote_prices(self._read_request(""), self._parts, message)

    @public(gateway_pb2.RecordEventsResponse)
    async def RecordEvents(self, message: gateway_pb2.RecordEventsRequest) -> gateway_pb2.RecordEventsResponse:
        return await record_events(self._write_request(), self._parts, message)

    @public(gateway_pb2.GetProductResponse)
    async def GetProduct(self, message: gateway_pb2.GetProductRequest) -> gateway_pb2.GetProductResponse:
        product = await get_product(self._write_request(), self._parts, message.id)
        return gateway_pb2.GetProductResponse(product=product)

    @public(gateway_pb2.ImportProductsResponse)
    async def ImportProducts(
        self, messages: AsyncIterator[gateway_pb2.ImportProductsRequest]
    ) -> gateway_pb2.ImportProductsResponse:
        stream = Import(self._write_request, self._parts, self.metrics)
        await stream.run(_readable(messages))
        return stream.summary

    @public(gateway_pb2.DeleteProductsResponse)
    async def DeleteProducts(self, message: gateway_pb2.DeleteProductsRequest) -> gateway_pb2.DeleteProductsResponse:
        return await delete_products(self._write_request(), self._parts, list(message.ids))

    @public(gateway_pb2.DescribeCollectionsResponse)
    async def DescribeCollections(
        self, message: gateway_pb2.DescribeCollectionsRequest
    ) -> gateway_pb2.DescribeCollectionsResponse:
        return await reembedding.describe_collections(self._write_request(), self._parts)

    @public(gateway_pb2.BeginReembeddingResponse)
    async def BeginReembedding(
        self, message: gateway_pb2.BeginReembeddingRequest
    ) -> gateway_pb2.BeginReembeddingResponse:
        await reembedding.begin_reembedding(self._write_request(), self._parts, message.model_version)
        return gateway_pb2.BeginReembeddingResponse()

    @public(gateway_pb2.ReembedProductsResponse)
    async def ReembedProducts(self, message: gateway_pb2.ReembedProductsRequest) -> gateway_pb2.ReembedProductsResponse:
        return await reembedding.reembed_products(self._write_request(), self._parts, message)

    @public(gateway_pb2.StoreEmbeddingsResponse)
    async def StoreEmbeddings(self, message: gateway_pb2.StoreEmbeddingsRequest) -> gateway_pb2.StoreEmbeddingsResponse:
        stored = await reembedding.store_embeddings(self._write_request(), self._parts, message)
        return gateway_pb2.StoreEmbeddingsResponse(stored_count=stored)

    @public(gateway_pb2.CheckEmbeddingsResponse)
    async def CheckEmbeddings(self, message: gateway_pb2.CheckEmbeddingsRequest) -> gateway_pb2.CheckEmbeddingsResponse:
        return await reembedding.check_embeddings(self._write_request(), self._parts, message)

    @public(gateway_pb2.SwitchCollectionsResponse)
    async def SwitchCollections(
        self, message: gateway_pb2.SwitchCollectionsRequest
    ) -> gateway_pb2.SwitchCollectionsResponse:
        await reembedding.switch_collections(self._write_request(), self._parts, message.model_version)
        return gateway_pb2.SwitchCollectionsResponse()

    @public(gateway_pb2.DropCollectionResponse)
    async def DropCollection(self, message: gateway_pb2.DropCollectionRequest) -> gateway_pb2.DropCollectionResponse:
        await reembedding.drop_collection(self._write_request(), self._parts, message.model_version)
        return gateway_pb2.DropCollectionResponse()

    @public(gateway_pb2.GetProfileResponse)
    async def GetProfile(self, message: gateway_pb2.GetProfileRequest) -> gateway_pb2.GetProfileResponse:
        return await get_profile(self._write_request(), self._parts, message)

    @public(gateway_pb2.DeleteUserResponse)
    async def DeleteUser(self, message: gateway_pb2.DeleteUserRequest) -> gateway_pb2.DeleteUserResponse:
        return await delete_user(self._write_request(), self._parts, message)

    @public(gateway_pb2.ExportUserResponse)
    async def ExportUser(self, message: gateway_pb2.ExportUserRequest) -> gateway_pb2.ExportUserResponse:
        return await export_user(self._write_request(), self._parts, message)

    def _read_request(self, locale: str, default_ms: float = 0.0) -> Request:
        """On a shopper's path: the caller's deadline is the budget, capped; the default where there is none."""
        call, budget = current_call.get(), self._settings.budget
        wanted_s = (
            (default_ms or budget.default_ms) / 1e3 if call.deadline_s is None else call.deadline_s - call.received_s
        )
        shares = self._settings.stages.shares()
        return self._request(call.received_s, min(wanted_s, budget.maximum_ms / 1e3), shares, locale)

    def _write_request(self) -> Request:
        """Off the shopper's path; each batch of an import gets a budget of its own, from now."""
        call, now_s = current_call.get(), time.monotonic()
        own_s = self._settings.budget.write_ms / 1e3
        total_s = own_s if call.deadline_s is None else min(own_s, call.deadline_s - now_s)
        # Each stage of a write may take what is left.
        return self._request(now_s, total_s, {stage: StageShare(cap=1.0, keep=0.0) for stage in Stage}, "")

    def _request(self, from_s: float, total_s: float, shares: dict[Stage, StageShare], locale: str) -> Request:
        call = current_call.get()
        budget = RequestBudget(from_s, from_s + total_s, shares, self._settings.budget.join)
        self._parts.memory.track(call.tenant)
        return Request(call, budget, self.stages, self.metrics, locale)

    def _viewer(self, message: gateway_pb2.SearchRequest | gateway_pb2.RecommendRequest, query: str) -> Viewer:
        return _viewer(message, query, self._parts.token_key)

    def _adapt(self, request: Request, method: str) -> None:
        began, deadline_s, now_s = request.call.received_s, request.budget.deadline_s, time.monotonic()
        (self.limit.in_time if now_s <= deadline_s else self.limit.late)()
        self.metrics.budget_used.labels(method).observe((now_s - began) / max(deadline_s - began, 1e-6))


async def _readable(messages: AsyncIterator[Any]) -> AsyncIterator[gateway_pb2.ImportProductsRequest]:
    async for message in messages:
        if isinstance(message, Malformed):
            raise InvalidArgument.of(message.field, message.problem)
        yield message


def _check_search(message: gateway_pb2.SearchRequest) -> None:
    if len(message.query) > MAX_QUERY:
        raise InvalidArgument.of("query", f"has {len(message.query)} characters; at most {MAX_QUERY}")
    if len(message.similar_to_id) > MAX_ID:
        raise InvalidArgument.of("similar_to_id", f"has {len(message.similar_to_id)} characters; at most {MAX_ID}")
    if message.similar_to_id and message.image:
        raise InvalidArgument.of("similar_to_id", "is set beside image; send one of them")


def _viewer(message: gateway_pb2.SearchRequest | gateway_pb2.RecommendRequest, query: str, token_key: str) -> Viewer:
    for field, value in (("user_id", message.user_id), ("session_id", message.session_id)):
        if len(value) > MAX_ID:
            raise InvalidArgument.of(field, f"has {len(value)} characters; at most {MAX_ID}")
    if message.page_size < 0:
        raise InvalidArgument.of("page_size", f"{message.page_size} is negative; send 1 to {MAX_PAGE_SIZE}")
    same = type(message)()
    same.MergeFrom(message)  # type: ignore[arg-type]
    for varying in ("page_token", "page_size", "explain"):
        same.ClearField(varying)
    of_request = fingerprint(type(message).__name__, same.SerializeToString(deterministic=True))
    page = PageToken(0, "", of_request)
    if message.page_token:
        page = PageToken.decode(message.page_token, of_request, token_key)
    size = min(message.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    return Viewer(message.user_id, message.session_id, query, size, page, message.explain)
