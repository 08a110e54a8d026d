"""RankerService: parse, call, wrap. The store blocks, so it is called in threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np

from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from services.common.convert import context_from_proto, vectors_to_proto
from services.common.errors import InvalidArgument
from services.common.rpc import rpc
from services.ranker.convert import (
    candidate_vectors,
    check_candidates,
    events_from_proto,
    impressions_from_proto,
    items_from_proto,
    ranking_request,
    ranking_to_proto,
)
from services.ranker.domain.profile import build_profile, interests, purchased
from services.ranker.domain.ranking import Ranker
from services.ranker.ports import ProfileStore

DEFAULT_POPULAR = 100
MAX_POPULAR = 1_000
MAX_IMPRESSIONS = 1_000
MAX_PURCHASED = 100

Answer = TypeVar("Answer")


class RankerHandler(ranker_pb2_grpc.RankerServiceServicer):
    """`clock` gives seconds since the epoch."""

    def __init__(
        self,
        store: ProfileStore,
        ranker: Ranker,
        model_version: str,
        workers: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._ranker, self._model_version, self._clock = store, ranker, model_version, clock
        self._threads = ThreadPoolExecutor(workers, "ranker")

    @rpc(ranker_pb2.RankItemsResponse)
    async def RankItems(self, request: ranker_pb2.RankItemsRequest) -> ranker_pb2.RankItemsResponse:
        tenant = context_from_proto(request.context).tenant
        check_candidates(request.candidates)
        return await self._in_thread(lambda: self._rank(tenant, request))

    @rpc(ranker_pb2.RecordEventsResponse)
    async def RecordEvents(self, request: ranker_pb2.RecordEventsRequest) -> ranker_pb2.RecordEventsResponse:
        tenant = context_from_proto(request.context).tenant
        events, items = events_from_proto(request), items_from_proto(request.items)
        recorded = await self._in_thread(lambda: self._store.record(tenant, events, items))
        return ranker_pb2.RecordEventsResponse(recorded_count=recorded, duplicate_count=len(events) - recorded)

    @rpc(ranker_pb2.RecordImpressionsResponse)
    async def RecordImpressions(
        self, request: ranker_pb2.RecordImpressionsRequest
    ) -> ranker_pb2.RecordImpressionsResponse:
        tenant = context_from_proto(request.context).tenant
        if not 1 <= len(request.impressions) <= MAX_IMPRESSIONS:
            raise InvalidArgument.of("impressions", f"holds {len(request.impressions)}; send 1 to {MAX_IMPRESSIONS}")
        shown = [impressions_from_proto(e, f"impressions[{i}]") for i, e in enumerate(request.impressions)]
        recorded = await self._in_thread(lambda: self._store.record_impressions(tenant, shown))
        return ranker_pb2.RecordImpressionsResponse(recorded_count=recorded)

    @rpc(ranker_pb2.GetInterestsResponse)
    async def GetInterests(self, request: ranker_pb2.GetInterestsRequest) -> ranker_pb2.GetInterestsResponse:
        tenant = context_from_proto(request.context).tenant
        if not request.user_id:
            raise InvalidArgument.of("user_id", "is empty; name a user")
        return await self._in_thread(lambda: self._interests(tenant, request.user_id))

    @rpc(ranker_pb2.ListPopularItemsResponse)
    async def ListPopularItems(
        self, request: ranker_pb2.ListPopularItemsRequest
    ) -> ranker_pb2.ListPopularItemsResponse:
        tenant = context_from_proto(request.context).tenant
        limit = request.limit or DEFAULT_POPULAR
        if not 1 <= limit <= MAX_POPULAR:
            raise InvalidArgument.of("limit", f"is {limit}; send 1 to {MAX_POPULAR}")
        now_s = self._clock()
        found = await self._in_thread(lambda: self._store.popular(tenant, request.category, limit, now_s))
        return ranker_pb2.ListPopularItemsResponse(
            item_ids=[item_id for item_id, _ in found], scores=[score for _, score in found]
        )

    def _rank(self, tenant: str, request: ranker_pb2.RankItemsRequest) -> ranker_pb2.RankItemsResponse:
        now_s, vectors = self._clock(), candidate_vectors(request.candidates)
        history = self._store.history(tenant, request.user_id) if request.user_id else []
        version = request.candidates.vectors.model_version
        profile = build_profile(history, version, vectors.shape[1], now_s)
        popularity = self._store.popularity(tenant, request.candidates.ids, now_s)
        ranking = ranking_request(request, vectors, popularity, profile)
        return ranking_to_proto(ranking, self._ranker(ranking), request.explain, self._model_version)

    def _interests(self, tenant: str, user_id: str) -> ranker_pb2.GetInterestsResponse:
        history = self._store.history(tenant, user_id)
        response = ranker_pb2.GetInterestsResponse(purchased_item_ids=purchased(history)[:MAX_PURCHASED])
        # The newest event's model is the collection's.
        newest = next((e.features for e in history if e.features is not None and e.features.vector is not None), None)
        if newest is None or newest.vector is None:
            return response
        profile = build_profile(history, newest.model_version, len(newest.vector), self._clock())
        vectors, weights = interests(profile)
        if len(vectors):
            response.interests.CopyFrom(vectors_to_proto(vectors, newest.model_version))
            response.weights.extend(np.asarray(weights).tolist())
        return response

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def check(self) -> None:
        """Raises when the store does not answer."""
        self._store.popular("default", "", 1, self._clock())

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._store.close()
