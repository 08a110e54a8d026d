"""Protobuf <-> domain for declared attributes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kairos.ranker.v1 import profile_pb2
from services.common.convert import time_to_proto
from services.ranker.domain.person import ids_of
from services.ranker.domain.user_attributes import Declared, OwnedAttribute
from services.ranker.times import moment


def attributes_from_proto(messages: Iterable[profile_pb2.UserAttribute]) -> list[Declared]:
    """As they were sent: the schema checks them."""
    return [
        Declared(each.name, tuple(each.texts), each.number if each.HasField("number") else None) for each in messages
    ]


def attributes_to_proto(attributes: Sequence[Declared]) -> list[profile_pb2.UserAttribute]:
    return [
        profile_pb2.UserAttribute(
            name=each.name, texts=each.texts, number=each.number, set_at=time_to_proto(moment(each.set_s)),
            expires_at=time_to_proto(moment(each.expires_s)),
        )
        for each in attributes
    ]  # fmt: skip


def owned_to_proto(owned: OwnedAttribute) -> profile_pb2.OwnedAttribute:
    user_id, visitor_id = ids_of(owned.person)
    (attribute,) = attributes_to_proto([owned.declared])
    return profile_pb2.OwnedAttribute(user_id=user_id, visitor_id=visitor_id, attribute=attribute)
