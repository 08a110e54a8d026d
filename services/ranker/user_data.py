"""The data of one user or visitor: interests, profile, declared attributes, export, merging and deletion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from kairos.ranker.v1 import profile_pb2, ranker_pb2
from services.common.convert import vectors_to_proto
from services.common.user_attributes import AttributeSchema, Declared
from services.ranker.background_writer import BackgroundWriter
from services.ranker.convert import person_of
from services.ranker.convert_attributes import attributes_to_proto
from services.ranker.convert_conversation import conversation_to_proto
from services.ranker.convert_rankings import impressions_to_proto, whole_ranking_to_proto
from services.ranker.convert_user import LOGS, PAGE_BYTES, event_to_proto, page_token, profile_to_proto
from services.ranker.domain.conversation import Conversation
from services.ranker.domain.interests import interests
from services.ranker.domain.person import person_key
from services.ranker.domain.profile import build_profile, newest_model, weighed_items
from services.ranker.domain.repurchase import (
    Counts,
    category_key,
    groups_of,
    item_key,
    purchased_once,
    recently_purchased,
)
from services.ranker.domain.user_history import UserHistory
from services.ranker.item_counter import ItemCounter
from services.ranker.ports import ConversationStore, ProfileStore
from services.ranker.shopper_reader import ShopperReader


class UserData:
    """Persons are keys of `domain.person`. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        store: ProfileStore,
        writer: BackgroundWriter,
        counter: ItemCounter,
        shoppers: ShopperReader,
        conversations: ConversationStore,
        schemas: Mapping[str, AttributeSchema],
        clock: Callable[[], float],
    ) -> None:
        self._store, self._writer, self._counter, self._clock = store, writer, counter, clock
        self._shoppers, self._conversations, self._schemas = shoppers, conversations, schemas

    def interests(self, tenant: str, message: ranker_pb2.GetInterestsRequest) -> ranker_pb2.GetInterestsResponse:
        """The request may name nobody."""
        person, session_id = person_of(message), message.session_id
        if message.attributes_only:
            declared = self.features(tenant, person) if person else []
            return ranker_pb2.GetInterestsResponse(attributes=attributes_to_proto(declared))
        user_history = self._store.user_history(tenant, person) if person else UserHistory()
        now_s = self._clock()
        rebuys = self._rebuys(tenant, user_history)
        bought = recently_purchased(user_history.purchases, rebuys, now_s)
        response = ranker_pb2.GetInterestsResponse(
            recently_purchased_item_ids=bought,
            recently_purchased_item_group_ids=groups_of(user_history.purchases, bought),
            shopper_version=self._shoppers.version(tenant, message),
            purchased_item_ids=purchased_once(user_history.purchases, rebuys),
        )
        model_version, dimensions = newest_model(user_history)
        found = interests(weighed_items(user_history, model_version, dimensions, now_s))
        if len(found):
            response.interests.CopyFrom(vectors_to_proto(found.vectors, model_version))
            response.weights.extend(found.shares.tolist())
        context = self._writer.session(tenant, session_id) if session_id else None
        if context is not None and len(context.vector):
            response.session.CopyFrom(vectors_to_proto(context.vector[None], context.model_version))
        if (shopper := self._shoppers.person(tenant, message, user_history, now_s)) is not None:
            response.shopper.CopyFrom(vectors_to_proto(shopper.vector[None], shopper.version))
            response.shopper_version = shopper.version
        return response

    def profile(
        self, tenant: str, message: ranker_pb2.GetProfileRequest | ranker_pb2.ExportUserRequest
    ) -> profile_pb2.UserProfile:
        person = person_of(message)
        user_history, now_s = self._store.user_history(tenant, person), self._clock()
        model_version, dimensions = newest_model(user_history)
        profile = build_profile(user_history, model_version, dimensions, now_s)
        bought = recently_purchased(user_history.purchases, self._rebuys(tenant, user_history), now_s)
        answer = profile_to_proto(
            message.user_id, message.visitor_id, user_history, profile, interests(profile), bought, model_version
        )
        answer.attributes.extend(attributes_to_proto(self.features(tenant, person)))
        return answer

    def set_attributes(
        self, tenant: str, person: str, asked: Sequence[Declared]
    ) -> ranker_pb2.SetUserAttributesResponse:
        """Raises InvalidArgument for what the tenant's schema does not allow."""
        declared, removed = self._schema(tenant).checked(asked, self._clock())
        stored = self._store.set_attributes(tenant, person, declared, removed)
        return ranker_pb2.SetUserAttributesResponse(attributes=attributes_to_proto(stored))

    def attributes(self, tenant: str, person: str) -> list[profile_pb2.UserAttribute]:
        """All declared attributes, for the export: those that are kept for fairness reports too."""
        return attributes_to_proto(self._store.attributes(tenant, person))

    def features(self, tenant: str, person: str) -> list[Declared]:
        """The declared attributes that ranking may use."""
        schema = self._schema(tenant)
        return schema.features(self._store.attributes(tenant, person)) if schema.rules else []

    def export(self, tenant: str, person: str, start: tuple[str, int], size: int) -> ranker_pb2.ExportUserResponse:
        """The page from `start` (log, position): events, shown pages, rankings logged whole, then conversations."""
        response, content = ranker_pb2.ExportUserResponse(), 0
        for count, (log, position, record) in enumerate(self._records(tenant, person, start, size), start=1):
            getattr(response, log).append(record)
            content += record.ByteSize()
            if count == size or content >= PAGE_BYTES:
                response.next_page_token = page_token(log, position)
                break
        return response

    def merge(self, tenant: str, message: ranker_pb2.MergeUsersRequest) -> ranker_pb2.MergeUsersResponse:
        events, impressions = self._store.merge(tenant, message.visitor_id, message.user_id)
        self._counter.merge(tenant, person_key("", message.visitor_id), person_key(message.user_id, ""))
        return ranker_pb2.MergeUsersResponse(moved_event_count=events, moved_impressions_count=impressions)

    def delete(self, tenant: str, person: str) -> ranker_pb2.DeleteUserResponse:
        persons = self._store.persons(tenant, [person])[person]
        rankings = self._writer.delete_persons(tenant, persons)
        conversations = self._conversations.delete_persons(tenant, persons)
        events, impressions = self._store.delete_person(tenant, person)
        self._counter.forget(tenant, persons)
        # Once more: a ranking that was made until now has features of the history.
        rankings += self._writer.delete_persons(tenant, persons)
        return ranker_pb2.DeleteUserResponse(
            deleted_event_count=events, deleted_impressions_count=impressions, deleted_ranking_count=rankings,
            deleted_conversation_count=conversations,
        )  # fmt: skip

    def _records(self, tenant: str, person: str, start: tuple[str, int], size: int) -> Iterator[tuple[str, int, Any]]:
        """(log, position, message) beyond the start, in order."""
        first, position = start
        readers: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
            "events": (self._store.events_after, event_to_proto),
            "impressions": (self._store.impressions_after, impressions_to_proto),
            "rankings": (self._store.whole_rankings_after, whole_ranking_to_proto),
            "conversations": (self._conversations_after, conversation_to_proto),
        }
        for log in islice(LOGS, LOGS.index(first), None):
            read, to_proto = readers[log]
            for place, record in read(tenant, position, size, person):
                yield log, place, to_proto(record)
            position = 0

    def _conversations_after(
        self, tenant: str, position: int, limit: int, person: str
    ) -> list[tuple[int, Conversation]]:
        """There are few of a person, so that all are read."""
        persons = self._store.persons(tenant, [person])[person]
        found = self._conversations.of_persons(tenant, persons)
        return [(place, each) for place, each in found if place > position][:limit]

    def _schema(self, tenant: str) -> AttributeSchema:
        return self._schemas.get(tenant, AttributeSchema())

    def _rebuys(self, tenant: str, user_history: UserHistory) -> Counts:
        """Of the purchased items and their categories."""
        bought = {entry.item_id: entry.features.category if entry.features else "" for entry in user_history.purchases}
        if not bought:
            return {}
        keys = {*map(item_key, bought), *(category_key(category) for category in bought.values() if category)}
        return self._store.rebuys(tenant, sorted(keys))
