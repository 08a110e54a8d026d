"""RankerService: parse, call, wrap. The stores block, so they are called in threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TypeVar

from kairos.ranker.v1 import conversation_pb2, ranker_pb2, ranker_pb2_grpc
from services.common.convert import context_from_proto
from services.common.errors import InvalidArgument, NotFound
from services.common.group_commit import GroupCommit
from services.common.models.follower import Follower
from services.common.rpc import rpc
from services.common.user_attributes import AttributeSchema
from services.ranker.background_writer import BackgroundWriter, PendingRanking
from services.ranker.convert import check_candidates, check_id, check_texts, one_person, proposed_key
from services.ranker.convert_attributes import attributes_from_proto
from services.ranker.convert_conversation import conversation_to_proto, turn_from_proto
from services.ranker.convert_events import events_from_proto, items_from_proto, session_moves
from services.ranker.convert_explanation import check_explained
from services.ranker.convert_item_lists import (
    DEFAULT_OF_PERSON,
    MAX_OF_PERSON,
    limit_of,
    person_asked_for,
    related_to_proto,
    relation_of,
)
from services.ranker.convert_log import check_log
from services.ranker.convert_options import slate_options
from services.ranker.convert_rankings import (
    check_shown,
    ranking_from_proto,
    ranking_to_proto,
    rows_asked_for,
)
from services.ranker.convert_user import page_from_token, page_size
from services.ranker.domain.conversation import Conversation, unknown
from services.ranker.domain.event import Batch
from services.ranker.domain.stored_ranking import StoredRanking
from services.ranker.impression_log import ImpressionLog
from services.ranker.item_counter import ItemCounter
from services.ranker.item_lists import ItemLists
from services.ranker.keeper import Keeper
from services.ranker.log_reader import LogReader
from services.ranker.metrics import OF_SHOPPER_VERSIONS
from services.ranker.ports import ConversationStore, CountStore, ProfileStore, RankerModels, RankingStore, ShopperModels
from services.ranker.rank_items import ItemRanker
from services.ranker.settings import RankerSettings
from services.ranker.shopper_reader import ShopperReader
from services.ranker.user_data import UserData

# Calls of RecordEvents at a time. Those that wait share the next write, so that the last one waits for two or three.
_MOST_RECORDING = 256

Answer = TypeVar("Answer")


class RankerHandler(ranker_pb2_grpc.RankerServiceServicer):
    """`clock` gives seconds since the epoch; `schemas` are those of declared attributes, by tenant."""

    def __init__(
        self,
        store: ProfileStore,
        rankings: RankingStore,
        models: RankerModels,
        shoppers: ShopperModels,
        counts: CountStore,
        conversations: ConversationStore,
        settings: RankerSettings,
        clock: Callable[[], float] = time.time,
        random: Random | None = None,
        schemas: Mapping[str, AttributeSchema] | None = None,
        mirror: Follower | None = None,
    ) -> None:
        self._store, self._rankings, self._models, self._clock = store, rankings, models, clock
        self._session_ttl_s, self._mirror = settings.sessions.ttl_s, mirror
        self._writer = BackgroundWriter(rankings, settings.rankings.queue)
        self._shoppers, reader = shoppers, ShopperReader(shoppers, store, self._writer)
        self._lists = ItemLists(store, counts, clock)
        self._impressions = ImpressionLog(store, self._writer, settings.rankings.whole_share, clock)
        self._counts, bounds = counts, settings.item_counts
        self._conversations = conversations
        self._counter = ItemCounter(store, counts, bounds.items, bounds.persons, bounds.interval_s, clock)
        self._users = UserData(store, self._writer, self._counter, reader, conversations, schemas or {}, clock)
        self._ranker = ItemRanker(
            store, self._writer, models, reader, self._lists, self._users.features, settings.exploration_shares,
            clock, random or Random(),
        )  # fmt: skip
        self._logs = LogReader(store, schemas or {})
        self._threads = ThreadPoolExecutor(settings.workers, "ranker")
        # Writes wait for the disk: no thread that ranks does.
        self._writing = ThreadPoolExecutor(1, "ranker-writing")
        self._logging = ThreadPoolExecutor(1, "ranker-logging")
        self._recorder = GroupCommit(store.record, lambda batch: len(batch.events), self._writing)
        self._keeper = Keeper(store, conversations, settings.retention.bounds, settings.retention.interval_s, clock)

    @rpc(ranker_pb2.RankItemsResponse)
    async def RankItems(self, request: ranker_pb2.RankItemsRequest) -> ranker_pb2.RankItemsResponse:
        context = context_from_proto(request.context)
        check_candidates(request.candidates)
        check_texts(request)
        check_explained(request)
        slate_options(request)

        def work() -> ranker_pb2.RankItemsResponse:
            # It may have waited for a thread: expired work is not begun.
            context.require_time()
            return self._ranker.rank(context.tenant, request)

        return await self._in_thread(work)

    @rpc(ranker_pb2.RecordEventsResponse, most_calls=_MOST_RECORDING)
    async def RecordEvents(self, request: ranker_pb2.RecordEventsRequest) -> ranker_pb2.RecordEventsResponse:
        tenant, now_s = context_from_proto(request.context).tenant, self._clock()
        events, items = events_from_proto(request, now_s), items_from_proto(request.items)
        self._counter.follow(tenant)
        new = await self._recorder.add(Batch(tenant, events, items))
        if new:
            self._counter.wake()
        recorded = {event.event_id: event for event in reversed(events) if event.event_id in new}
        moves = session_moves(tenant, [recorded[id] for id in new], items, now_s - self._session_ttl_s, now_s)
        if moves:
            self._writer.move(moves)
            await self._in_thread(lambda: self._writer.wait_for_moves(tenant, moves[-1].session_id))
        return ranker_pb2.RecordEventsResponse(recorded_count=len(new), duplicate_count=len(events) - len(new))

    @rpc(ranker_pb2.StoreRankingResponse)
    async def StoreRanking(self, request: ranker_pb2.StoreRankingRequest) -> ranker_pb2.StoreRankingResponse:
        tenant = context_from_proto(request.context).tenant
        check_texts(request)
        ranking = ranking_from_proto(request, self._clock())
        reordered_id = request.reordered_ranking_id
        if reordered_id == ranking.ranking_id:
            raise InvalidArgument.of("reordered_ranking_id", "is ranking_id; give the new order an id of its own")

        def make() -> StoredRanking:
            made = self._writer.ranking(tenant, reordered_id) if reordered_id else None
            return ranking if made is None else made.reordered_as(ranking)

        self._writer.put(PendingRanking(tenant, ranking.ranking_id, ranking.person, make))
        return ranker_pb2.StoreRankingResponse()

    @rpc(ranker_pb2.GetRankingResponse)
    async def GetRanking(self, request: ranker_pb2.GetRankingRequest) -> ranker_pb2.GetRankingResponse:
        tenant = context_from_proto(request.context).tenant
        first, last = rows_asked_for(request)
        ranking = await self._in_thread(lambda: self._writer.ranking(tenant, request.ranking_id))
        if ranking is None:
            raise NotFound(f"ranking {request.ranking_id} has expired, or never was; rank again")
        return ranking_to_proto(ranking, first, last)

    @rpc(ranker_pb2.RecordImpressionsResponse)
    async def RecordImpressions(
        self, request: ranker_pb2.RecordImpressionsRequest
    ) -> ranker_pb2.RecordImpressionsResponse:
        tenant = context_from_proto(request.context).tenant
        check_shown(request)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._logging, self._impressions.record, tenant, request)

    @rpc(ranker_pb2.GetInterestsResponse)
    async def GetInterests(self, request: ranker_pb2.GetInterestsRequest) -> ranker_pb2.GetInterestsResponse:
        tenant = context_from_proto(request.context).tenant
        check_texts(request)
        return await self._in_thread(lambda: self._users.interests(tenant, request))

    @rpc(ranker_pb2.GetProfileResponse)
    async def GetProfile(self, request: ranker_pb2.GetProfileRequest) -> ranker_pb2.GetProfileResponse:
        tenant = context_from_proto(request.context).tenant
        one_person(request)
        profile = await self._in_thread(lambda: self._users.profile(tenant, request))
        return ranker_pb2.GetProfileResponse(profile=profile)

    @rpc(ranker_pb2.SetUserAttributesResponse)
    async def SetUserAttributes(
        self, request: ranker_pb2.SetUserAttributesRequest
    ) -> ranker_pb2.SetUserAttributesResponse:
        tenant, person = context_from_proto(request.context).tenant, one_person(request)
        asked = attributes_from_proto(request.attributes)
        return await self._in_thread(lambda: self._users.set_attributes(tenant, person, asked))

    @rpc(ranker_pb2.MergeUsersResponse)
    async def MergeUsers(self, request: ranker_pb2.MergeUsersRequest) -> ranker_pb2.MergeUsersResponse:
        tenant = context_from_proto(request.context).tenant
        for name in ("visitor_id", "user_id"):
            check_id(getattr(request, name), name)
        return await self._in_thread(lambda: self._users.merge(tenant, request))

    @rpc(ranker_pb2.DeleteUserResponse)
    async def DeleteUser(self, request: ranker_pb2.DeleteUserRequest) -> ranker_pb2.DeleteUserResponse:
        tenant, person = context_from_proto(request.context).tenant, one_person(request)
        return await self._in_thread(lambda: self._users.delete(tenant, person))

    @rpc(ranker_pb2.ExportUserResponse)
    async def ExportUser(self, request: ranker_pb2.ExportUserRequest) -> ranker_pb2.ExportUserResponse:
        tenant, person = context_from_proto(request.context).tenant, one_person(request)
        size, start = page_size(request.page_size), page_from_token(request.page_token)
        response = await self._in_thread(lambda: self._users.export(tenant, person, start, size))
        if not request.page_token:
            profile = await self._in_thread(lambda: self._users.profile(tenant, request))
            response.profile.CopyFrom(profile)
            response.attributes.extend(await self._in_thread(lambda: self._users.attributes(tenant, person)))
        return response

    @rpc(ranker_pb2.ReadLogResponse)
    async def ReadLog(self, request: ranker_pb2.ReadLogRequest) -> ranker_pb2.ReadLogResponse:
        tenant = context_from_proto(request.context).tenant
        check_log(request)
        page_size(request.page_size)
        return await self._in_thread(lambda: self._logs.read(tenant, request))

    @rpc(ranker_pb2.ListPopularItemsResponse)
    async def ListPopularItems(
        self, request: ranker_pb2.ListPopularItemsRequest
    ) -> ranker_pb2.ListPopularItemsResponse:
        tenant = context_from_proto(request.context).tenant
        limit, now_s = limit_of(request), self._clock()
        found = await self._in_thread(lambda: self._store.popular(tenant, request.category, limit, now_s))
        return ranker_pb2.ListPopularItemsResponse(
            item_ids=[item_id for item_id, _ in found], scores=[score for _, score in found]
        )

    @rpc(ranker_pb2.ListRelatedItemsResponse)
    async def ListRelatedItems(
        self, request: ranker_pb2.ListRelatedItemsRequest
    ) -> ranker_pb2.ListRelatedItemsResponse:
        tenant = context_from_proto(request.context).tenant
        relation, limit = relation_of(request), limit_of(request)
        self._counter.follow(tenant)
        asked = list(request.item_ids)
        return related_to_proto(await self._in_thread(lambda: self._lists.related(tenant, asked, relation, limit)))

    @rpc(ranker_pb2.ListTrendingItemsResponse)
    async def ListTrendingItems(
        self, request: ranker_pb2.ListTrendingItemsRequest
    ) -> ranker_pb2.ListTrendingItemsResponse:
        tenant, limit = context_from_proto(request.context).tenant, limit_of(request)
        self._counter.follow(tenant)
        found = await self._in_thread(lambda: self._lists.trending(tenant, request.category, limit))
        return ranker_pb2.ListTrendingItemsResponse(
            item_ids=[item_id for item_id, _ in found], scores=[rise for _, rise in found]
        )

    @rpc(ranker_pb2.ListPersonItemsResponse)
    async def ListPersonItems(self, request: ranker_pb2.ListPersonItemsRequest) -> ranker_pb2.ListPersonItemsResponse:
        tenant, person = context_from_proto(request.context).tenant, person_asked_for(request)
        limit = limit_of(request, DEFAULT_OF_PERSON, MAX_OF_PERSON)
        self._counter.follow(tenant)
        read = {
            ranker_pb2.PERSON_ITEMS_RECENTLY_VIEWED: self._lists.recently_viewed,
            ranker_pb2.PERSON_ITEMS_BUY_AGAIN: self._lists.buy_again,
            ranker_pb2.PERSON_ITEMS_NEIGHBOURS: self._lists.neighbours_of,
        }[request.items]
        found = await self._in_thread(lambda: read(tenant, person, limit)) if person else []
        return ranker_pb2.ListPersonItemsResponse(
            item_ids=[item_id for item_id, _ in found], scores=[score for _, score in found]
        )

    @rpc(ranker_pb2.EnsureTokenKeyResponse)
    async def EnsureTokenKey(self, request: ranker_pb2.EnsureTokenKeyRequest) -> ranker_pb2.EnsureTokenKeyResponse:
        context_from_proto(request.context)
        proposed = proposed_key(request)
        return ranker_pb2.EnsureTokenKeyResponse(key=await self._in_thread(lambda: self._store.token_key(proposed)))

    @rpc(conversation_pb2.AppendTurnResponse)
    async def AppendTurn(self, request: conversation_pb2.AppendTurnRequest) -> conversation_pb2.AppendTurnResponse:
        tenant, person = context_from_proto(request.context).tenant, one_person(request)
        turn = turn_from_proto(request)

        def work() -> Conversation:
            persons, id = self._store.persons(tenant, [person])[person], request.conversation_id
            return self._conversations.append(tenant, id, persons, turn, request.state, request.turn_count)

        stored = await asyncio.get_running_loop().run_in_executor(self._writing, work)
        return conversation_pb2.AppendTurnResponse(turn_count=stored.turn_count)

    @rpc(conversation_pb2.GetConversationResponse)
    async def GetConversation(
        self, request: conversation_pb2.GetConversationRequest
    ) -> conversation_pb2.GetConversationResponse:
        tenant, person = context_from_proto(request.context).tenant, one_person(request)
        check_id(request.conversation_id, "conversation_id")

        def work() -> Conversation | None:
            persons = self._store.persons(tenant, [person])[person]
            return self._conversations.conversation(tenant, request.conversation_id, persons)

        found = await self._in_thread(work)
        if found is None:
            raise unknown(request.conversation_id)
        return conversation_pb2.GetConversationResponse(conversation=conversation_to_proto(found))

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        self._counter.note_request()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def check(self) -> None:
        """Raises when the store does not answer."""
        self._store.popular("default", "", 1, self._clock())

    def measures(self) -> dict[str, float]:
        """What the ranker knows of its own state, by the name of the metric."""
        measured: dict[str, float] = {
            "kairos_ranker_rankings_dropped": self._writer.dropped,
            "kairos_ranker_log_entries_removed": self._keeper.removed,
            "kairos_ranker_upkeep_failures": self._keeper.failures + self._counter.failures,
            "kairos_ranker_item_counter_behind": self._counter.behind(),
        }
        if (fill := self._keeper.fill) is not None:
            measured |= {"kairos_ranker_store_used_bytes": fill.used, "kairos_ranker_store_limit_bytes": fill.limit}
        return measured

    def shopper_measures(self) -> dict[str, dict[str, float]]:
        """By the version of the shopper model, then by the name of the metric."""
        return {
            version: dict(zip(OF_SHOPPER_VERSIONS, (used.requests, used.seconds, used.errors), strict=True))
            for version, used in self._shoppers.usage().items()
        }

    def close(self) -> None:
        """Ends the calls in progress and writes the rankings and session moves that are queued."""
        self._keeper.close()
        self._counter.close()
        self._threads.shutdown(cancel_futures=True)
        self._writing.shutdown(cancel_futures=True)
        self._logging.shutdown(cancel_futures=True)
        self._writer.close()
        if self._mirror is not None:
            self._mirror.close()
        self._models.close()
        self._shoppers.close()
        self._counts.close()
        self._conversations.close()
        self._rankings.close()
        self._store.close()
