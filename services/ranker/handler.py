"""RankerService: parse, call, wrap. The store blocks, so it is called in threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TypeVar

import numpy as np

from kairos.ranker.v1 import profile_pb2, ranker_pb2, ranker_pb2_grpc
from services.common.convert import context_from_proto, vectors_to_proto
from services.common.errors import InvalidArgument
from services.common.rpc import rpc
from services.ranker.convert import (
    candidate_vectors,
    check_candidates,
    check_user_id,
    events_from_proto,
    impressions_from_proto,
    items_from_proto,
    order_of,
    ranking_request,
    ranking_to_proto,
)
from services.ranker.convert_explanation import check_explained, explained_rows, explanation_to_proto
from services.ranker.convert_user import (
    event_to_proto,
    impressions_to_proto,
    page_from_token,
    page_size,
    page_token,
    profile_to_proto,
)
from services.ranker.domain.event import Batch
from services.ranker.domain.explanation import explain
from services.ranker.domain.interests import interests
from services.ranker.domain.profile import build_profile, newest_model, purchased
from services.ranker.domain.repurchase import category_key, item_key, recently_purchased
from services.ranker.domain.slate.slate import make_slate
from services.ranker.domain.user_history import UserHistory
from services.ranker.ports import ProfileStore, RankerModels
from services.ranker.recording import Recorder

DEFAULT_POPULAR = 100
MAX_POPULAR = 1_000
MAX_IMPRESSIONS = 1_000

Answer = TypeVar("Answer")


class RankerHandler(ranker_pb2_grpc.RankerServiceServicer):
    """`clock` gives seconds since the epoch. `exploration` is the share of places explored for unknown users."""

    def __init__(
        self,
        store: ProfileStore,
        models: RankerModels,
        workers: int,
        exploration: float = 0.0,
        clock: Callable[[], float] = time.time,
        random: Random | None = None,
    ) -> None:
        self._store, self._models, self._clock = store, models, clock
        self._exploration, self._random = exploration, random or Random()
        self._threads = ThreadPoolExecutor(workers, "ranker")
        self._writing = ThreadPoolExecutor(1, "ranker-writing")
        self._recorder = Recorder(store.record, self._writing)

    @rpc(ranker_pb2.RankItemsResponse)
    async def RankItems(self, request: ranker_pb2.RankItemsRequest) -> ranker_pb2.RankItemsResponse:
        tenant = context_from_proto(request.context).tenant
        check_candidates(request.candidates)
        check_explained(request)
        return await self._in_thread(lambda: self._rank(tenant, request))

    @rpc(ranker_pb2.RecordEventsResponse)
    async def RecordEvents(self, request: ranker_pb2.RecordEventsRequest) -> ranker_pb2.RecordEventsResponse:
        tenant = context_from_proto(request.context).tenant
        events, items = events_from_proto(request), items_from_proto(request.items)
        recorded = await self._recorder.record(Batch(tenant, events, items))
        return ranker_pb2.RecordEventsResponse(recorded_count=recorded, duplicate_count=len(events) - recorded)

    @rpc(ranker_pb2.RecordImpressionsResponse)
    async def RecordImpressions(
        self, request: ranker_pb2.RecordImpressionsRequest
    ) -> ranker_pb2.RecordImpressionsResponse:
        tenant = context_from_proto(request.context).tenant
        if not 1 <= len(request.impressions) <= MAX_IMPRESSIONS:
            raise InvalidArgument.of("impressions", f"holds {len(request.impressions)}; send 1 to {MAX_IMPRESSIONS}")
        shown = [impressions_from_proto(e, f"impressions[{i}]") for i, e in enumerate(request.impressions)]
        items = items_from_proto(request.items)
        recorded = await self._in_thread(lambda: self._store.record_impressions(tenant, shown, items))
        return ranker_pb2.RecordImpressionsResponse(recorded_count=recorded)

    @rpc(ranker_pb2.GetInterestsResponse)
    async def GetInterests(self, request: ranker_pb2.GetInterestsRequest) -> ranker_pb2.GetInterestsResponse:
        tenant = context_from_proto(request.context).tenant
        check_user_id(request.user_id)
        return await self._in_thread(lambda: self._interests(tenant, request.user_id))

    @rpc(ranker_pb2.GetProfileResponse)
    async def GetProfile(self, request: ranker_pb2.GetProfileRequest) -> ranker_pb2.GetProfileResponse:
        tenant = context_from_proto(request.context).tenant
        check_user_id(request.user_id)
        profile = await self._in_thread(lambda: self._profile(tenant, request.user_id))
        return ranker_pb2.GetProfileResponse(profile=profile)

    @rpc(ranker_pb2.DeleteUserResponse)
    async def DeleteUser(self, request: ranker_pb2.DeleteUserRequest) -> ranker_pb2.DeleteUserResponse:
        tenant = context_from_proto(request.context).tenant
        check_user_id(request.user_id)
        events, shown = await self._in_thread(lambda: self._store.delete_user(tenant, request.user_id))
        return ranker_pb2.DeleteUserResponse(deleted_event_count=events, deleted_impressions_count=shown)

    @rpc(ranker_pb2.ExportUserResponse)
    async def ExportUser(self, request: ranker_pb2.ExportUserRequest) -> ranker_pb2.ExportUserResponse:
        tenant = context_from_proto(request.context).tenant
        check_user_id(request.user_id)
        size, (log, position) = page_size(request.page_size), page_from_token(request.page_token)
        response = await self._in_thread(lambda: self._page(tenant, request.user_id, log, position, size))
        if not request.page_token:
            profile = await self._in_thread(lambda: self._profile(tenant, request.user_id))
            response.profile.CopyFrom(profile)
        return response

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
        user_history = self._store.user_history(tenant, request.user_id) if request.user_id else UserHistory()
        profile = build_profile(user_history, request.candidates.vectors.model_version, vectors.shape[1], now_s)
        popularity = self._store.popularity(tenant, request.candidates.ids, now_s)
        ranking = ranking_request(request, vectors, popularity, profile, user_history, now_s)
        # Who is not known by name keeps to a version by session.
        scores, model_version = self._models.rank(tenant, request.user_id or request.session_id, ranking)
        slate = make_slate(ranking, scores.total, self._exploration, self._random) if request.as_slate else None
        order = order_of(scores, slate)
        response = ranking_to_proto(ranking, scores, order, slate, model_version)
        if request.explain:
            rows = explained_rows(request, order)
            explanations = explain(ranking, scores, rows, slate)
            response.reasons.extend(explanation_to_proto(explanations.get(row)) for row in order)
        return response

    def _interests(self, tenant: str, user_id: str) -> ranker_pb2.GetInterestsResponse:
        user_history, now_s = self._store.user_history(tenant, user_id), self._clock()
        response = ranker_pb2.GetInterestsResponse(
            purchased_item_ids=purchased(user_history.purchases),
            recently_purchased_item_ids=self._recently_purchased(tenant, user_history, now_s),
        )
        model_version, dimensions = newest_model(user_history)
        wishes = interests(build_profile(user_history, model_version, dimensions, now_s))
        if len(wishes):
            response.interests.CopyFrom(vectors_to_proto(wishes.vectors, model_version))
            response.weights.extend(np.asarray(wishes.shares).tolist())
        return response

    def _profile(self, tenant: str, user_id: str) -> profile_pb2.UserProfile:
        user_history, now_s = self._store.user_history(tenant, user_id), self._clock()
        model_version, dimensions = newest_model(user_history)
        profile = build_profile(user_history, model_version, dimensions, now_s)
        wishes = interests(profile)
        return profile_to_proto(
            user_id, user_history, profile, wishes, self._recently_purchased(tenant, user_history, now_s), model_version
        )

    def _recently_purchased(self, tenant: str, user_history: UserHistory, now_s: float) -> tuple[str, ...]:
        bought = {entry.item_id: entry.features.category if entry.features else "" for entry in user_history.purchases}
        keys = {*map(item_key, bought), *(category_key(category) for category in bought.values() if category)}
        return (
            recently_purchased(user_history.purchases, self._store.rebuys(tenant, sorted(keys)), now_s)
            if bought
            else ()
        )

    def _page(self, tenant: str, user_id: str, log: str, position: int, size: int) -> ranker_pb2.ExportUserResponse:
        """Events, and when they are at an end what was shown."""
        response, left = ranker_pb2.ExportUserResponse(), size
        if log == "events":
            events = self._store.events_after(tenant, position, size, user_id)
            response.events.extend(event_to_proto(event) for _, event in events)
            if len(events) == size:
                response.next_page_token = page_token(log, events[-1][0])
                return response
            left, position = size - len(events), 0
        shown = self._store.impressions_after(tenant, position, left, user_id)
        response.impressions.extend(impressions_to_proto(entry) for _, entry in shown)
        if len(shown) == left:
            response.next_page_token = page_token("impressions", shown[-1][0])
        return response

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def check(self) -> None:
        """Raises when the store does not answer."""
        self._store.popular("default", "", 1, self._clock())

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._writing.shutdown(cancel_futures=True)
        self._models.close()
        self._store.close()
