"""Protobuf <-> domain for lists of items. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kairos.ranker.v1 import ranker_pb2
from services.common.errors import InvalidArgument
from services.ranker.convert import check_ids, check_texts, person_of
from services.ranker.domain.item_counts.neighbours import Related
from services.ranker.domain.item_counts.relations import Relation

MAX_ITEMS = 100
DEFAULT_LIMIT, MAX_LIMIT = 100, 1_000
DEFAULT_OF_PERSON, MAX_OF_PERSON = 50, 200
_RELATIONS = {
    ranker_pb2.RELATION_BOUGHT_TOGETHER: Relation.BOUGHT,
    ranker_pb2.RELATION_VIEWED_TOGETHER: Relation.VIEWED,
    ranker_pb2.RELATION_FOLLOWED: Relation.FOLLOWED,
}

_OF_PERSON = (
    ranker_pb2.PERSON_ITEMS_RECENTLY_VIEWED, ranker_pb2.PERSON_ITEMS_BUY_AGAIN, ranker_pb2.PERSON_ITEMS_NEIGHBOURS,
)  # fmt: skip


def limit_of(message: Any, default: int = DEFAULT_LIMIT, most: int = MAX_LIMIT) -> int:
    limit: int = message.limit or default
    if not 1 <= limit <= most:
        raise InvalidArgument.of("limit", f"is {limit}; send 1 to {most}")
    return limit


def relation_of(message: ranker_pb2.ListRelatedItemsRequest) -> Relation:
    """Checks the items as well."""
    if not 1 <= len(message.item_ids) <= MAX_ITEMS:
        raise InvalidArgument.of("item_ids", f"holds {len(message.item_ids)}; send 1 to {MAX_ITEMS}")
    check_ids(message.item_ids, "item_ids")
    if message.relation not in _RELATIONS:
        raise InvalidArgument.of(
            "relation", f"is {message.relation}; send BOUGHT_TOGETHER, VIEWED_TOGETHER or FOLLOWED"
        )
    return _RELATIONS[message.relation]


def person_asked_for(message: ranker_pb2.ListPersonItemsRequest) -> str:
    """Empty for a request of a session only: nothing is stored of it but its context."""
    check_texts(message)
    if not (message.user_id or message.visitor_id or message.session_id):
        raise InvalidArgument.of("user_id", "is empty, and so are visitor_id and session_id; send one of them")
    if message.items not in _OF_PERSON:
        raise InvalidArgument.of("items", f"is {message.items}; send RECENTLY_VIEWED, BUY_AGAIN or NEIGHBOURS")
    return person_of(message)


def related_to_proto(found: Sequence[Related]) -> ranker_pb2.ListRelatedItemsResponse:
    return ranker_pb2.ListRelatedItemsResponse(
        item_ids=[each.item_id for each in found],
        scores=[each.score for each in found],
        counts=[each.persons for each in found],
    )
