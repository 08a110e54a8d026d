"""GatewayService: reads each request, calls the flow and wraps its answer."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator

import structlog

from kairos.gateway.v1 import conversation_pb2, faq_pb2, gateway_pb2, gateway_pb2_grpc, product_reviews_pb2
from services.common.visibility import GENERAL, SEES_ALL
from services.gateway.convert import (
    check_texts,
    viewer_of_explanation,
    viewer_of_recommendation,
    viewer_of_search,
    viewing_of,
)
from services.gateway.domain.experiments import NOT_ASSIGNED
from services.gateway.domain.viewer import Viewer
from services.gateway.flows import reembedding, training
from services.gateway.flows.catalogue import delete_products, get_product, list_products
from services.gateway.flows.conversations import append_turn, get_conversation
from services.gateway.flows.converse import converse
from services.gateway.flows.explain_item import explain_item
from services.gateway.flows.faq import ask_faq, delete_faq_entries, import_faq_entries, list_faq_entries
from services.gateway.flows.import_products import Import
from services.gateway.flows.preview_rules import preview_rules
from services.gateway.flows.prices import quote_prices
from services.gateway.flows.product_reviews import import_product_reviews, set_review_summaries
from services.gateway.flows.recommend import recommend
from services.gateway.flows.record_events import record_events, record_feedback
from services.gateway.flows.search import search
from services.gateway.flows.suggest import suggest
from services.gateway.flows.update_offers import OfferStream
from services.gateway.flows.user_data import (
    delete_user,
    export_user,
    get_profile,
    merge_users,
    set_user_attributes,
)
from services.gateway.parts import Parts
from services.gateway.reception import Reception
from services.gateway.request_info import current_request
from services.gateway.rpc_method import rpc_method
from services.gateway.stage_calls import StageCalls


class GatewayHandler(gateway_pb2_grpc.GatewayServiceServicer):
    def __init__(self, parts: Parts) -> None:
        self._parts, self._settings, self.metrics = parts, parts.settings, parts.metrics
        self.reception = Reception.of(parts.settings, parts.access, parts.authenticator)

    @rpc_method(gateway_pb2.SearchResponse)
    async def Search(self, message: gateway_pb2.SearchRequest) -> gateway_pb2.SearchResponse:
        viewer = viewer_of_search(message, self._token_keys())
        calls = self._read_calls(message.locale, viewer)
        response = await search(calls, self._parts, message, viewer)
        self._observe_budget(calls, "Search")
        return response

    @rpc_method(gateway_pb2.SuggestResponse)
    async def Suggest(self, message: gateway_pb2.SuggestRequest) -> gateway_pb2.SuggestResponse:
        calls = self._read_calls(message.locale)
        calls.viewing = viewing_of(message)
        return await suggest(calls, self._parts, message)

    @rpc_method(gateway_pb2.RecommendResponse)
    async def Recommend(self, message: gateway_pb2.RecommendRequest) -> gateway_pb2.RecommendResponse:
        viewer = viewer_of_recommendation(message, self._token_keys())
        calls = self._read_calls(message.locale, viewer)
        response = await recommend(calls, self._parts, message, viewer)
        self._observe_budget(calls, "Recommend")
        return response

    @rpc_method(gateway_pb2.ExplainItemResponse)
    async def ExplainItem(self, message: gateway_pb2.ExplainItemRequest) -> gateway_pb2.ExplainItemResponse:
        viewer = viewer_of_explanation(message, self._token_keys())
        locale = message.search.locale or message.recommend.locale
        calls = self._read_calls(locale, viewer, self._settings.budget.explain_ms)
        return await explain_item(calls, self._parts, message, viewer)

    @rpc_method(gateway_pb2.QuotePricesResponse)
    async def QuotePrices(self, message: gateway_pb2.QuotePricesRequest) -> gateway_pb2.QuotePricesResponse:
        calls = self._read_calls("")
        # A request for prices by id names no market and no audience: what any page shows has a price.
        calls.viewing = SEES_ALL
        return await quote_prices(calls, self._parts, message)

    @rpc_method(gateway_pb2.RecordEventsResponse)
    async def RecordEvents(self, message: gateway_pb2.RecordEventsRequest) -> gateway_pb2.RecordEventsResponse:
        return await record_events(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.RecordFeedbackResponse)
    async def RecordFeedback(self, message: gateway_pb2.RecordFeedbackRequest) -> gateway_pb2.RecordFeedbackResponse:
        return await record_feedback(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.GetProductResponse)
    async def GetProduct(self, message: gateway_pb2.GetProductRequest) -> gateway_pb2.GetProductResponse:
        check_texts(message)
        calls = self._write_calls()
        if calls.info.role != "write":
            calls.viewing = viewing_of(message)
        return await get_product(calls, self._parts, message.id)

    @rpc_method(gateway_pb2.ListProductsResponse)
    async def ListProducts(self, message: gateway_pb2.ListProductsRequest) -> gateway_pb2.ListProductsResponse:
        return await list_products(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.ImportProductsResponse)
    async def ImportProducts(
        self, messages: AsyncIterator[gateway_pb2.ImportProductsRequest]
    ) -> gateway_pb2.ImportProductsResponse:
        stream = Import(self._write_calls, self._parts)
        await stream.run(messages)
        return stream.summary

    @rpc_method(product_reviews_pb2.ImportProductReviewsResponse)
    async def ImportProductReviews(
        self, message: product_reviews_pb2.ImportProductReviewsRequest
    ) -> product_reviews_pb2.ImportProductReviewsResponse:
        return await import_product_reviews(self._write_calls(), self._parts, message)

    @rpc_method(product_reviews_pb2.SetReviewSummariesResponse)
    async def SetReviewSummaries(
        self, message: product_reviews_pb2.SetReviewSummariesRequest
    ) -> product_reviews_pb2.SetReviewSummariesResponse:
        return await set_review_summaries(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.DeleteProductsResponse)
    async def DeleteProducts(self, message: gateway_pb2.DeleteProductsRequest) -> gateway_pb2.DeleteProductsResponse:
        return await delete_products(self._write_calls(), self._parts, message.ids)

    @rpc_method(gateway_pb2.UpdateOffersResponse)
    async def UpdateOffers(
        self, messages: AsyncIterator[gateway_pb2.UpdateOffersRequest]
    ) -> gateway_pb2.UpdateOffersResponse:
        stream = OfferStream(self._write_calls, self._parts)
        await stream.run(messages)
        stream.summary.request_id = current_request.get().request_id
        return stream.summary

    @rpc_method(gateway_pb2.DescribeCollectionsResponse)
    async def DescribeCollections(
        self, message: gateway_pb2.DescribeCollectionsRequest
    ) -> gateway_pb2.DescribeCollectionsResponse:
        return await reembedding.describe_collections(self._write_calls(), self._parts)

    @rpc_method(gateway_pb2.BeginReembeddingResponse)
    async def BeginReembedding(
        self, message: gateway_pb2.BeginReembeddingRequest
    ) -> gateway_pb2.BeginReembeddingResponse:
        await reembedding.begin_reembedding(self._write_calls(), self._parts, message)
        return gateway_pb2.BeginReembeddingResponse()

    @rpc_method(gateway_pb2.ReembedProductsResponse)
    async def ReembedProducts(self, message: gateway_pb2.ReembedProductsRequest) -> gateway_pb2.ReembedProductsResponse:
        return await reembedding.reembed_products(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.StoreEmbeddingsResponse)
    async def StoreEmbeddings(self, message: gateway_pb2.StoreEmbeddingsRequest) -> gateway_pb2.StoreEmbeddingsResponse:
        return await reembedding.store_embeddings(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.CheckEmbeddingsResponse)
    async def CheckEmbeddings(self, message: gateway_pb2.CheckEmbeddingsRequest) -> gateway_pb2.CheckEmbeddingsResponse:
        return await reembedding.check_embeddings(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.SwitchCollectionsResponse)
    async def SwitchCollections(
        self, message: gateway_pb2.SwitchCollectionsRequest
    ) -> gateway_pb2.SwitchCollectionsResponse:
        await reembedding.switch_collections(self._write_calls(), self._parts, message)
        return gateway_pb2.SwitchCollectionsResponse()

    @rpc_method(gateway_pb2.DropCollectionResponse)
    async def DropCollection(self, message: gateway_pb2.DropCollectionRequest) -> gateway_pb2.DropCollectionResponse:
        await reembedding.drop_collection(self._write_calls(), self._parts, message)
        return gateway_pb2.DropCollectionResponse()

    @rpc_method(gateway_pb2.GetProfileResponse)
    async def GetProfile(self, message: gateway_pb2.GetProfileRequest) -> gateway_pb2.GetProfileResponse:
        return await get_profile(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.SetUserAttributesResponse)
    async def SetUserAttributes(
        self, message: gateway_pb2.SetUserAttributesRequest
    ) -> gateway_pb2.SetUserAttributesResponse:
        return await set_user_attributes(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.MergeUsersResponse)
    async def MergeUsers(self, message: gateway_pb2.MergeUsersRequest) -> gateway_pb2.MergeUsersResponse:
        return await merge_users(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.DeleteUserResponse)
    async def DeleteUser(self, message: gateway_pb2.DeleteUserRequest) -> gateway_pb2.DeleteUserResponse:
        return await delete_user(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.ExportUserResponse)
    async def ExportUser(self, message: gateway_pb2.ExportUserRequest) -> gateway_pb2.ExportUserResponse:
        return await export_user(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.ReadLogResponse)
    async def ReadLog(self, message: gateway_pb2.ReadLogRequest) -> gateway_pb2.ReadLogResponse:
        return await training.read_log(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.DescribeItemVectorsResponse)
    async def DescribeItemVectors(
        self, message: gateway_pb2.DescribeItemVectorsRequest
    ) -> gateway_pb2.DescribeItemVectorsResponse:
        return await training.describe_item_vectors(self._write_calls(), self._parts)

    @rpc_method(gateway_pb2.BeginItemVectorsResponse)
    async def BeginItemVectors(
        self, message: gateway_pb2.BeginItemVectorsRequest
    ) -> gateway_pb2.BeginItemVectorsResponse:
        await training.begin_item_vectors(self._write_calls(), self._parts, message)
        return gateway_pb2.BeginItemVectorsResponse()

    @rpc_method(gateway_pb2.StoreItemVectorsResponse)
    async def StoreItemVectors(
        self, message: gateway_pb2.StoreItemVectorsRequest
    ) -> gateway_pb2.StoreItemVectorsResponse:
        return await training.store_item_vectors(self._write_calls(), self._parts, message)

    @rpc_method(gateway_pb2.DropItemVectorsResponse)
    async def DropItemVectors(self, message: gateway_pb2.DropItemVectorsRequest) -> gateway_pb2.DropItemVectorsResponse:
        await training.drop_item_vectors(self._write_calls(), self._parts, message)
        return gateway_pb2.DropItemVectorsResponse()

    @rpc_method(gateway_pb2.PreviewRulesResponse)
    async def PreviewRules(self, message: gateway_pb2.PreviewRulesRequest) -> gateway_pb2.PreviewRulesResponse:
        return await preview_rules(current_request.get(), self._parts, message)

    @rpc_method(conversation_pb2.ConverseResponse)
    async def Converse(  # type: ignore[override]  # the decorator sends the messages itself
        self, message: conversation_pb2.ConverseRequest
    ) -> AsyncGenerator[conversation_pb2.ConverseResponse]:
        calls = self._parts.access.for_conversation(current_request.get(), message.shopper.locale)
        async with contextlib.aclosing(converse(calls, self._parts, message)) as events:
            async for event in events:
                yield conversation_pb2.ConverseResponse(event=event)

    @rpc_method(conversation_pb2.AppendTurnResponse)
    async def AppendTurn(self, message: conversation_pb2.AppendTurnRequest) -> conversation_pb2.AppendTurnResponse:
        return await append_turn(self._write_calls(), self._parts, message)

    @rpc_method(conversation_pb2.GetConversationResponse)
    async def GetConversation(
        self, message: conversation_pb2.GetConversationRequest
    ) -> conversation_pb2.GetConversationResponse:
        return await get_conversation(self._write_calls(), self._parts, message)

    @rpc_method(faq_pb2.AskFaqResponse)
    async def AskFaq(self, message: faq_pb2.AskFaqRequest) -> faq_pb2.AskFaqResponse:
        calls = self._read_calls(message.locale)
        response = await ask_faq(calls, self._parts, message)
        self._observe_budget(calls, "AskFaq")
        return response

    @rpc_method(faq_pb2.ImportFaqEntriesResponse)
    async def ImportFaqEntries(self, message: faq_pb2.ImportFaqEntriesRequest) -> faq_pb2.ImportFaqEntriesResponse:
        return await import_faq_entries(self._write_calls(), self._parts, message)

    @rpc_method(faq_pb2.DeleteFaqEntriesResponse)
    async def DeleteFaqEntries(self, message: faq_pb2.DeleteFaqEntriesRequest) -> faq_pb2.DeleteFaqEntriesResponse:
        return await delete_faq_entries(self._write_calls(), self._parts, message.ids)

    @rpc_method(faq_pb2.ListFaqEntriesResponse)
    async def ListFaqEntries(self, message: faq_pb2.ListFaqEntriesRequest) -> faq_pb2.ListFaqEntriesResponse:
        return await list_faq_entries(self._write_calls(), self._parts, message)

    def _token_keys(self) -> tuple[str, ...]:
        return self._parts.token_keys.of(current_request.get().tenant)

    def _read_calls(self, locale: str, viewer: Viewer | None = None, default_ms: float = 0.0) -> StageCalls:
        """`viewer`: of a request that may be in experiments."""
        info = current_request.get()
        self._parts.popular_items.track(info.tenant)
        assignment, viewing = NOT_ASSIGNED, GENERAL
        if viewer is not None:
            viewing = viewer.viewing
            assignment = self._parts.experiments.assign(info.tenant, viewer.user_id, viewer.visitor_id)
        return self._parts.access.for_read(info, locale, default_ms, assignment, viewing)

    def _write_calls(self) -> StageCalls:
        info = current_request.get()
        self._parts.popular_items.track(info.tenant)
        return self._parts.access.for_write(info)

    def _observe_budget(self, calls: StageCalls, method: str) -> None:
        used_s = time.monotonic() - calls.budget.received_s
        self.metrics.budget_used.labels(method).observe(used_s / max(calls.budget.total_s, 1e-6))
        if calls.assignment.arms:
            self.metrics.count_arms(calls.assignment.arms, used_s, bool(calls.degradations))
            # For the line of the call in the access log.
            structlog.contextvars.bind_contextvars(experiment_arms=dict(calls.assignment.arms))
