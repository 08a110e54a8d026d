"""Pages of a tenant's logs: events, pages that were shown, and rankings logged whole, for training; and the declared
attributes that are kept for fairness reports.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kairos.ranker.v1 import ranker_pb2
from services.common.user_attributes import AttributeSchema
from services.ranker.convert_attributes import owned_to_proto
from services.ranker.convert_log import log_page_token, log_start
from services.ranker.convert_rankings import impressions_to_proto, whole_ranking_to_proto
from services.ranker.convert_user import PAGE_BYTES, event_to_proto, page_size
from services.ranker.ports import OwnedAttribute, ProfileStore


class LogReader:
    def __init__(self, store: ProfileStore, schemas: Mapping[str, AttributeSchema]) -> None:
        def fairness_after(tenant: str, position: int, limit: int) -> list[tuple[int, OwnedAttribute]]:
            names = schemas.get(tenant, AttributeSchema()).fairness_names
            return store.attributes_after(tenant, position, limit, names) if names else []

        self._store = store
        # By log: how it is read, the message of a record, and the field of the answer.
        self._logs: dict[int, tuple[Callable[..., Any], Callable[[Any], Any], str]] = {
            ranker_pb2.LOG_KIND_EVENTS: (store.events_after, event_to_proto, "events"),
            ranker_pb2.LOG_KIND_IMPRESSIONS: (store.impressions_after, impressions_to_proto, "impressions"),
            ranker_pb2.LOG_KIND_RANKINGS: (store.whole_rankings_after, whole_ranking_to_proto, "impressions"),
            ranker_pb2.LOG_KIND_FAIRNESS_ATTRIBUTES: (fairness_after, owned_to_proto, "attributes"),
        }

    def read(self, tenant: str, message: ranker_pb2.ReadLogRequest) -> ranker_pb2.ReadLogResponse:
        """The page from the token on. It ends with the record that fills it: by count, or by PAGE_BYTES."""
        position, size = log_start(message), page_size(message.page_size)
        if message.newest_count and not message.page_token:
            position = self._store.newest_impressions_start(tenant, message.newest_count)
        read, to_proto, field = self._logs[message.log]
        response, content, count = ranker_pb2.ReadLogResponse(is_last_page=True), 0, 0
        # One more than a page holds, which says whether anything follows.
        for place, record in read(tenant, position, size + 1):
            if count == size or content >= PAGE_BYTES:
                response.is_last_page = False
                break
            converted = to_proto(record)
            getattr(response, field).append(converted)
            position, content, count = place, content + converted.ByteSize(), count + 1
        response.next_page_token = log_page_token(message.log, position)
        return response
