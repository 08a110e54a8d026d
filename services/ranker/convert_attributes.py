"""Protobuf <-> domain for declared attributes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from google.protobuf.message import DecodeError

from kairos.common.v1 import product_pb2
from kairos.ranker.v1 import profile_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.arrays import FloatArray
from services.common.convert import time_to_proto
from services.common.errors import InvalidArgument
from services.common.user_attributes import Declared
from services.ranker.domain import attribute_matches as domain
from services.ranker.domain.person import ids_of
from services.ranker.domain.user_features import IntArray
from services.ranker.ports import OwnedAttribute
from services.ranker.times import moment

# Combinations of attributes of products.
_REMEMBERED = 16_384


def attributes_from_proto(messages: Iterable[profile_pb2.UserAttribute]) -> list[Declared]:
    """As they were sent: the schema checks them."""
    return [
        Declared(each.name, tuple(each.texts), each.number if each.HasField("number") else None) for each in messages
    ]


def attribute_matches(candidates: retrieval_pb2.Candidates, declared: Sequence[Declared]) -> FloatArray:
    """[candidates], by domain/attribute_matches.py. Raises InvalidArgument."""
    given = list(candidates.attributes)
    # Candidates share few combinations of attributes.
    rows = {data: row for row, data in enumerate(dict.fromkeys(given))}
    try:
        matches = domain.attribute_matches(declared, [_stated(data) for data in rows])
    except DecodeError:
        raise InvalidArgument.of("candidates.attributes", "is damaged; send it as retrieval returned it") from None
    return matches[[rows[data] for data in given]]


@lru_cache(_REMEMBERED)
def _stated(data: bytes) -> IntArray:
    product = product_pb2.Product.FromString(data)
    return domain.stated({name: attribute.values for name, attribute in product.attributes.items()})


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
