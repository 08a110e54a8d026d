"""The limits of each public message, checked on the received bytes, and the parser behind them.

The reference of the documentation shows the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from kairos.gateway.v1 import gateway_pb2
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_IMAGE_BYTES
from services.gateway.domain.wire import LENGTH_DELIMITED, PACKED, BrokenMessage, Shape, TooManyFields, count_fields

GATEWAY_SERVICE = gateway_pb2.DESCRIPTOR.services_by_name["GatewayService"]
_KB, _MB = 1 << 10, 1 << 20
# gRPC itself refuses a larger message, with RESOURCE_EXHAUSTED and without details. Above every limit of the table, so
# that a message slightly too large gets an answer that names the limit.
GRPC_MESSAGE_BYTES = 20 * _MB


class MessageLimit(NamedTuple):
    """`size` in bytes; `fields` of the message and of all its submessages together, unknown ones too; `entries` of any
    one list in it.
    """

    size: int
    fields: int
    entries: int


# What the largest valid request needs, rounded up. Numbers of fields count each entry of a list.
_SMALL = MessageLimit(8 * _KB, 64, 16)
_SEARCH = MessageLimit(MAX_IMAGE_BYTES + _MB, 2_000, 64)
_RECOMMEND = MessageLimit(_MB, 2_000, 100)
MESSAGE_LIMITS: dict[str, MessageLimit] = {
    "Search": _SEARCH,
    "Suggest": _SMALL,
    "Recommend": _RECOMMEND,
    "ExplainItem": _SEARCH._replace(entries=_RECOMMEND.entries),
    "QuotePrices": MessageLimit(64 * _KB, 200, 100),
    # 1,000 events with ids, query and token at their longest.
    "RecordEvents": MessageLimit(7 * _MB, 21_000, 1_000),
    "RecordFeedback": _SMALL._replace(size=16 * _KB),
    "GetProduct": _SMALL,
    # 500 products with 64 fields each, in any distribution.
    "ImportProducts": MessageLimit(16 * _MB, 32_000, 500),
    # 500 reviews with ids and text at their longest, in characters of three bytes.
    "ImportProductReviews": MessageLimit(5 * _MB, 6_000, 500),
    "SetReviewSummaries": MessageLimit(_MB, 4_000, 500),
    "DeleteProducts": MessageLimit(_MB, 1_100, 1_000),
    # A token may have 4,096 characters.
    "ListProducts": _SMALL,
    # 1,000 offers with ids at their longest and every field.
    "UpdateOffers": MessageLimit(2 * _MB, 34_000, 1_000),
    "DescribeCollections": _SMALL,
    "BeginReembedding": _SMALL,
    "ReembedProducts": _SMALL,
    # 500 vectors of 4,096 dimensions.
    "StoreEmbeddings": MessageLimit(9 * _MB, 1_200, 500),
    "CheckEmbeddings": _SMALL,
    "SwitchCollections": _SMALL,
    "DropCollection": _SMALL,
    "GetProfile": _SMALL,
    # 32 attributes with 16 texts of 64 characters.
    "SetUserAttributes": MessageLimit(192 * _KB, 1_000, 32),
    "MergeUsers": _SMALL,
    "DeleteUser": _SMALL,
    "ExportUser": _SMALL,
    "ReadLog": _SMALL,
    "DescribeItemVectors": _SMALL,
    # A map of 4,097 rows of 1,024 numbers of 4 bytes.
    "BeginItemVectors": MessageLimit(17 * _MB, 64, 16),
    # 500 vectors of 1,024 dimensions.
    "StoreItemVectors": MessageLimit(3 * _MB, 1_200, 500),
    "DropItemVectors": _SMALL,
    # 1,000 queries and 10 rules at their longest.
    "PreviewRules": _SEARCH._replace(fields=40_000, entries=1_000),
    # 8 transcripts of 1,000 characters and 20 ids.
    "Converse": MessageLimit(64 * _KB, 128, 20),
    # A turn of 5,000 characters with 20 ids, and a state of 4 KiB.
    "AppendTurn": MessageLimit(64 * _KB, 64, 20),
    "GetConversation": _SMALL,
    "AskFaq": _SMALL,
    # 500 entries with 1,000 questions, and answers, products and categories at their longest in most of them.
    "ImportFaqEntries": MessageLimit(16 * _MB, 44_000, 500),
    "DeleteFaqEntries": MessageLimit(_MB, 1_100, 1_000),
    "ListFaqEntries": _SMALL,
}


@dataclass(frozen=True)
class RequestParser:
    """Parses the requests of one method, within its limits."""

    limit: MessageLimit
    kind: type[Message]
    shape: Shape

    @classmethod
    def of(cls, method: str) -> RequestParser:
        descriptor = GATEWAY_SERVICE.methods_by_name[method].input_type
        return cls(MESSAGE_LIMITS[method], message_factory.GetMessageClass(descriptor), _shape_of(descriptor, {}))

    def check(self, data: bytes) -> None:
        """Raises InvalidArgument for a message that is too large or broken. Costs at most a step for each field."""
        if len(data) > self.limit.size:
            raise InvalidArgument.of(
                "request", f"has {len(data)} bytes; send at most {self.limit.size}, for example fewer entries"
            )
        try:
            count_fields(data, self.shape, self.limit.fields, self.limit.entries)
        except BrokenMessage:
            raise unreadable() from None
        except TooManyFields as error:
            raise InvalidArgument(self._violation(error)) from None

    def parse(self, data: bytes) -> Message:
        """A message that `check` has passed. Raises InvalidArgument if text is not UTF-8."""
        try:
            return self.kind.FromString(data)
        except DecodeError:
            raise unreadable() from None

    def _violation(self, error: TooManyFields) -> FieldViolation:
        if path := self._path(error):
            return FieldViolation(path, f"has more than {self.limit.entries} entries; send at most so many")
        many = f"has more than {self.limit.fields} fields, each entry of a list counted"
        return FieldViolation("request", f"{many}; send fewer entries")

    def _path(self, error: TooManyFields) -> str:
        """As products[1].category_path; empty for a field that the contract does not have."""
        names, index = list[str](), ""
        descriptor: Any = self.kind.DESCRIPTOR
        for tag, entry in error.path:
            field = descriptor.fields_by_number.get(tag >> 3) if descriptor is not None else None
            if field is None:
                return ""
            names.append(index + ("." if names else "") + field.name)
            index = f"[{entry - 1}]" if field.is_repeated else ""
            descriptor = field.message_type
        return "".join(names)


def unreadable() -> InvalidArgument:
    """The error about bytes that are no message."""
    return InvalidArgument.of("request", "is not a readable message; send protobuf with text in UTF-8")


def _shape_of(descriptor: Descriptor, known: dict[str, dict[int, Shape | int]]) -> Shape:
    if descriptor.full_name in known:
        return known[descriptor.full_name]
    shape = known[descriptor.full_name] = {}
    for field in descriptor.fields:
        tag = field.number << 3 | LENGTH_DELIMITED
        if field.message_type is not None:
            is_plain = not any(inner.is_repeated or inner.message_type for inner in field.message_type.fields)
            shape[tag] = len(field.message_type.fields) if is_plain else _shape_of(field.message_type, known)
        elif field.is_repeated and field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            # A parser accepts both forms of a repeated number.
            shape[tag] = PACKED
    return shape
