"""The RPC methods: parse, call, wrap. The engine is called in threads, not on the event loop.

Searches, reads by id and writes have threads of their own: an import never takes the threads of searches.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from kairos.retrieval.v1 import retrieval_pb2, retrieval_pb2_grpc
from services.common.call_limit import MOST_IMPORTS
from services.common.context import RequestContext
from services.common.convert import context_from_proto
from services.common.rpc import rpc
from services.retrieval import convert, convert_item_vectors, convert_offers, convert_reembedding
from services.retrieval.domain.query import check_ids
from services.retrieval.faq_handler import FaqCalls
from services.retrieval.listing import MAX_GROUPS, complete_identifiers, list_products, list_variants
from services.retrieval.ports import Columns
from services.retrieval.recent_answers import RecentAnswers
from services.retrieval.search import Retriever, lookup
from services.retrieval.text_shadow import TextShadow

Result = TypeVar("Result")

# Threads of reads by id. They are short.
_READERS = 2
# Threads of writes, each of a whole batch. The writes of one tenant follow each other anyway.
_WRITERS = 2


class RetrievalHandler(retrieval_pb2_grpc.RetrievalServiceServicer):
    """See retrieval.proto. Owns the retriever's index: `close` closes it.

    `workers`: threads of searches. `attribute_names`: by tenant the product attributes that users may declare.
    """

    def __init__(
        self,
        retriever: Retriever,
        workers: int,
        answer_cache_mb: int,
        attribute_names: Mapping[str, tuple[str, ...]] | None = None,
    ) -> None:
        self._attribute_names = attribute_names or {}
        self._retriever = retriever
        self._index, self._shadow = retriever.index, TextShadow(retriever)
        # Tells the counts of replicas apart.
        self._replica = uuid.uuid4().hex
        self._answers = RecentAnswers(retriever.revision, answer_cache_mb << 20)
        self._searches = ThreadPoolExecutor(workers, "retrieval-search")
        self._reads = ThreadPoolExecutor(_READERS, "retrieval-read")
        self._writes = ThreadPoolExecutor(_WRITERS, "retrieval-write")
        self._faq = FaqCalls(retriever.faq, self._run, self._reads, self._writes)

    @rpc(retrieval_pb2.RetrieveCandidatesResponse)
    async def RetrieveCandidates(
        self, request: retrieval_pb2.RetrieveCandidatesRequest
    ) -> retrieval_pb2.RetrieveCandidatesResponse:
        context = context_from_proto(request.context)

        def work() -> retrieval_pb2.RetrieveCandidatesResponse:
            names = self._attribute_names.get(context.tenant, ())
            asked = convert.query_from_proto(request)
            query = replace(asked, attribute_names=names, viewing=context.viewing)
            began_s = time.perf_counter()
            found = self._retriever.retrieve(context.tenant, query, context.remaining_s)
            self._shadow.look(context.tenant, query, found, time.perf_counter() - began_s)
            return convert.retrieval_to_proto(found)

        searched = self._answers.get(context, request, lambda: self._run(self._searches, context, work))
        return await self._faq.beside(request, context, searched)

    @rpc(retrieval_pb2.LookupProductsResponse, most_calls=MOST_IMPORTS)
    async def LookupProducts(
        self, request: retrieval_pb2.LookupProductsRequest
    ) -> retrieval_pb2.LookupProductsResponse:
        context = context_from_proto(request.context)
        check_ids(request.ids)
        columns = Columns(vectors=request.with_vectors, products=request.with_products, fingerprints=True)
        soft_filter = convert.soft_filter_from_proto(request)

        def work() -> retrieval_pb2.LookupProductsResponse:
            index, offers = (
                self._index.pinned(context.tenant),
                convert_offers.offer_context_from_proto(request.offer_context),
            )
            names = self._attribute_names.get(context.tenant, ())
            candidates, missing_ids = lookup(
                index, context.tenant, request.ids, columns, offers, time.time(), names, soft_filter, context.viewing
            )
            return convert.lookup_to_proto(candidates, missing_ids, index.model_version(context.tenant))

        return await self._run(self._reads, context, work)

    @rpc(retrieval_pb2.UpsertProductsResponse, most_calls=MOST_IMPORTS)
    async def UpsertProducts(
        self, request: retrieval_pb2.UpsertProductsRequest
    ) -> retrieval_pb2.UpsertProductsResponse:
        context = context_from_proto(request.context)

        def work() -> retrieval_pb2.UpsertProductsResponse:
            products, vectors, images, others = convert.upsert_from_proto(request)
            self._index.upsert(context.tenant, products, vectors, images, others)
            return retrieval_pb2.UpsertProductsResponse(upserted_count=len(products))

        return await self._run(self._writes, context, work)

    @rpc(retrieval_pb2.SetModerationResponse)
    async def SetModeration(self, request: retrieval_pb2.SetModerationRequest) -> retrieval_pb2.SetModerationResponse:
        context = context_from_proto(request.context)
        check_ids([product.id for product in request.products], "products")
        changes = convert.moderation_from_proto(request)

        def work() -> retrieval_pb2.SetModerationResponse:
            missing_ids = self._index.set_moderation(context.tenant, changes)
            return retrieval_pb2.SetModerationResponse(
                changed_count=len(changes) - len(missing_ids), missing_ids=missing_ids
            )

        return await self._run(self._writes, context, work)

    @rpc(retrieval_pb2.SetReviewSummariesResponse)
    async def SetReviewSummaries(
        self, request: retrieval_pb2.SetReviewSummariesRequest
    ) -> retrieval_pb2.SetReviewSummariesResponse:
        context = context_from_proto(request.context)
        check_ids([product.id for product in request.products], "products")
        changes = convert.summaries_from_proto(request)

        def work() -> retrieval_pb2.SetReviewSummariesResponse:
            missing_ids = self._index.set_review_summaries(context.tenant, changes)
            return retrieval_pb2.SetReviewSummariesResponse(
                changed_count=len(changes) - len(missing_ids), missing_ids=missing_ids
            )

        return await self._run(self._writes, context, work)

    @rpc(retrieval_pb2.RemoveProductsResponse)
    async def RemoveProducts(
        self, request: retrieval_pb2.RemoveProductsRequest
    ) -> retrieval_pb2.RemoveProductsResponse:
        context = context_from_proto(request.context)
        check_ids(request.ids)

        def work() -> retrieval_pb2.RemoveProductsResponse:
            ids = list(dict.fromkeys(request.ids))
            missing_ids = self._index.remove(context.tenant, ids)
            return retrieval_pb2.RemoveProductsResponse(
                removed_count=len(ids) - len(missing_ids), missing_ids=missing_ids
            )

        return await self._run(self._writes, context, work)

    @rpc(retrieval_pb2.ListVariantsResponse)
    async def ListVariants(self, request: retrieval_pb2.ListVariantsRequest) -> retrieval_pb2.ListVariantsResponse:
        context = context_from_proto(request.context)
        check_ids(request.item_group_ids, "item_group_ids", MAX_GROUPS)
        offers = convert_offers.offer_context_from_proto(request.offer_context)

        def work() -> retrieval_pb2.ListVariantsResponse:
            index = self._index.pinned(context.tenant)
            groups = list_variants(index, context.tenant, request.item_group_ids, offers, time.time(), context.viewing)
            return convert.variants_to_proto(groups)

        return await self._run(self._reads, context, work)

    @rpc(retrieval_pb2.ListProductsResponse)
    async def ListProducts(self, request: retrieval_pb2.ListProductsRequest) -> retrieval_pb2.ListProductsResponse:
        context = context_from_proto(request.context)
        page_token, limit = convert.listed_from_proto(request)

        def work() -> retrieval_pb2.ListProductsResponse:
            index = self._index.pinned(context.tenant)
            page = list_products(index, context.tenant, page_token, limit, with_vectors=request.with_vectors)
            return convert.listed_to_proto(page, request.with_products)

        return await self._run(self._reads, context, work)

    @rpc(retrieval_pb2.CompleteIdentifiersResponse)
    async def CompleteIdentifiers(
        self, request: retrieval_pb2.CompleteIdentifiersRequest
    ) -> retrieval_pb2.CompleteIdentifiersResponse:
        context = context_from_proto(request.context)
        prefix, limit = convert.prefix_from_proto(request)

        def work() -> retrieval_pb2.CompleteIdentifiersResponse:
            found = complete_identifiers(
                self._index.pinned(context.tenant), context.tenant, prefix, limit, context.viewing
            )
            return convert.completed_to_proto(found)

        return await self._run(self._reads, context, work)

    @rpc(retrieval_pb2.UpdateOffersResponse, most_calls=MOST_IMPORTS)
    async def UpdateOffers(self, request: retrieval_pb2.UpdateOffersRequest) -> retrieval_pb2.UpdateOffersResponse:
        context = context_from_proto(request.context)

        def work() -> retrieval_pb2.UpdateOffersResponse:
            offers = convert_offers.offers_from_proto(request)
            return convert_offers.update_to_proto(self._index.update_offers(context.tenant, offers))

        return await self._run(self._writes, context, work)

    @rpc(retrieval_pb2.DescribeCollectionsResponse)
    async def DescribeCollections(
        self, request: retrieval_pb2.DescribeCollectionsRequest
    ) -> retrieval_pb2.DescribeCollectionsResponse:
        context = context_from_proto(request.context)
        state = await self._run(self._reads, context, lambda: self._index.reembedding.describe(context.tenant))
        return convert_reembedding.pair_to_proto(state, self._replica, self._shadow.of_trial(context.tenant))

    @rpc(retrieval_pb2.BeginReembeddingResponse)
    async def BeginReembedding(
        self, request: retrieval_pb2.BeginReembeddingRequest
    ) -> retrieval_pb2.BeginReembeddingResponse:
        context = context_from_proto(request.context)
        model_version, dimensions = convert_reembedding.model_from_proto(request)
        await self._run(
            self._writes, context, lambda: self._index.reembedding.begin(context.tenant, model_version, dimensions)
        )
        return retrieval_pb2.BeginReembeddingResponse()

    @rpc(retrieval_pb2.ListUnembeddedProductsResponse)
    async def ListUnembeddedProducts(
        self, request: retrieval_pb2.ListUnembeddedProductsRequest
    ) -> retrieval_pb2.ListUnembeddedProductsResponse:
        context = context_from_proto(request.context)
        start, limit = convert_reembedding.page_from_proto(request)
        found = await self._run(
            self._writes, context, lambda: self._index.reembedding.unembedded(context.tenant, start, limit)
        )
        return convert_reembedding.unembedded_to_proto(found)

    @rpc(retrieval_pb2.StoreEmbeddingsResponse)
    async def StoreEmbeddings(
        self, request: retrieval_pb2.StoreEmbeddingsRequest
    ) -> retrieval_pb2.StoreEmbeddingsResponse:
        context = context_from_proto(request.context)
        vectors = convert_reembedding.embeddings_from_proto(request)
        ids, fingerprints = request.ids, request.fingerprints
        stored = await self._run(
            self._writes, context, lambda: self._index.reembedding.store(context.tenant, ids, fingerprints, vectors)
        )
        return retrieval_pb2.StoreEmbeddingsResponse(stored_count=stored)

    @rpc(retrieval_pb2.CheckEmbeddingsResponse)
    async def CheckEmbeddings(
        self, request: retrieval_pb2.CheckEmbeddingsRequest
    ) -> retrieval_pb2.CheckEmbeddingsResponse:
        context = context_from_proto(request.context)
        sample = convert_reembedding.sample_from_proto(request)
        found = await self._run(self._writes, context, lambda: self._index.reembedding.check(context.tenant, sample))
        return retrieval_pb2.CheckEmbeddingsResponse(
            sampled_count=found.sampled, recall=found.recall, overlap=found.overlap
        )

    @rpc(retrieval_pb2.SwitchCollectionsResponse)
    async def SwitchCollections(
        self, request: retrieval_pb2.SwitchCollectionsRequest
    ) -> retrieval_pb2.SwitchCollectionsResponse:
        context = context_from_proto(request.context)
        model_version = convert_reembedding.named_model(request.model_version)
        await self._run(self._writes, context, lambda: self._index.reembedding.switch(context.tenant, model_version))
        return retrieval_pb2.SwitchCollectionsResponse()

    @rpc(retrieval_pb2.DropCollectionResponse)
    async def DropCollection(
        self, request: retrieval_pb2.DropCollectionRequest
    ) -> retrieval_pb2.DropCollectionResponse:
        context = context_from_proto(request.context)
        model_version = convert_reembedding.named_model(request.model_version)
        await self._run(self._writes, context, lambda: self._index.reembedding.drop(context.tenant, model_version))
        return retrieval_pb2.DropCollectionResponse()

    @rpc(retrieval_pb2.DescribeItemVectorsResponse)
    async def DescribeItemVectors(
        self, request: retrieval_pb2.DescribeItemVectorsRequest
    ) -> retrieval_pb2.DescribeItemVectorsResponse:
        context = context_from_proto(request.context)
        versions = await self._run(self._reads, context, lambda: self._index.item_vectors.describe(context.tenant))
        return convert_item_vectors.versions_to_proto(versions)

    @rpc(retrieval_pb2.BeginItemVectorsResponse)
    async def BeginItemVectors(
        self, request: retrieval_pb2.BeginItemVectorsRequest
    ) -> retrieval_pb2.BeginItemVectorsResponse:
        context = context_from_proto(request.context)
        version, dimensions, map = convert_item_vectors.begin_from_proto(request)
        await self._run(
            self._writes, context, lambda: self._index.item_vectors.begin(context.tenant, version, dimensions, map)
        )
        return retrieval_pb2.BeginItemVectorsResponse()

    @rpc(retrieval_pb2.StoreItemVectorsResponse, most_calls=MOST_IMPORTS)
    async def StoreItemVectors(
        self, request: retrieval_pb2.StoreItemVectorsRequest
    ) -> retrieval_pb2.StoreItemVectorsResponse:
        context = context_from_proto(request.context)
        version, vectors = convert_item_vectors.stored_from_proto(request)
        ids, is_complete = request.ids, request.is_complete
        stored = await self._run(
            self._writes,
            context,
            lambda: self._index.item_vectors.store(context.tenant, version, ids, vectors, is_complete),
        )
        return retrieval_pb2.StoreItemVectorsResponse(stored_count=stored)

    @rpc(retrieval_pb2.DropItemVectorsResponse)
    async def DropItemVectors(
        self, request: retrieval_pb2.DropItemVectorsRequest
    ) -> retrieval_pb2.DropItemVectorsResponse:
        context = context_from_proto(request.context)
        version = convert_item_vectors.version_from_proto(request.model_version)
        await self._run(self._writes, context, lambda: self._index.item_vectors.drop(context.tenant, version))
        return retrieval_pb2.DropItemVectorsResponse()

    @rpc(retrieval_pb2.UpsertFaqEntriesResponse, most_calls=MOST_IMPORTS)
    async def UpsertFaqEntries(
        self, request: retrieval_pb2.UpsertFaqEntriesRequest
    ) -> retrieval_pb2.UpsertFaqEntriesResponse:
        return await self._faq.upsert(request)

    @rpc(retrieval_pb2.RemoveFaqEntriesResponse)
    async def RemoveFaqEntries(
        self, request: retrieval_pb2.RemoveFaqEntriesRequest
    ) -> retrieval_pb2.RemoveFaqEntriesResponse:
        return await self._faq.remove(request)

    @rpc(retrieval_pb2.ListFaqEntriesResponse)
    async def ListFaqEntries(
        self, request: retrieval_pb2.ListFaqEntriesRequest
    ) -> retrieval_pb2.ListFaqEntriesResponse:
        return await self._faq.list(request)

    @rpc(retrieval_pb2.MatchFaqResponse)
    async def MatchFaq(self, request: retrieval_pb2.MatchFaqRequest) -> retrieval_pb2.MatchFaqResponse:
        return await self._faq.match(request)

    def measures(self) -> dict[str, float]:
        """The values of metrics.MEASURES."""
        cache, shadow = self._answers.measures(), self._shadow.counts()
        return {f"kairos_retrieval_cache_{name}": value for name, value in cache.items()} | {
            f"kairos_retrieval_shadow_{name}": value for name, value in shadow.items()
        }

    def check(self) -> None:
        """Raise when the index cannot answer."""
        self._index.check()

    def close(self) -> None:
        """Waits for work that has begun, then closes the retriever."""
        for threads in (self._searches, self._reads, self._writes):
            threads.shutdown(cancel_futures=True)
        self._shadow.close()
        self._retriever.close()

    async def _run(self, threads: Executor, context: RequestContext, work: Callable[[], Result]) -> Result:
        def timely() -> Result:
            # It may have waited for a thread: expired work is not begun. Neither is that of a cancelled call, which
            # asyncio takes out of the queue.
            context.require_time()
            return work()

        return await asyncio.get_running_loop().run_in_executor(threads, timely)
