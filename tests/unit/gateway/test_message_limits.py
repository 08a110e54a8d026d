"""The limits of public messages: counted on the bytes, in bounded work, before anything is parsed."""

from __future__ import annotations

import contextlib
from itertools import chain
from typing import Any

import pytest
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import example, given
from hypothesis import strategies as st

from kairos.common.v1 import common_pb2, event_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.errors import InvalidArgument
from services.gateway.domain.wire import BrokenMessage, TooManyFields, count_fields
from services.gateway.message_limits import GATEWAY_SERVICE, GRPC_MESSAGE_BYTES, MESSAGE_LIMITS, RequestParser

METHODS = sorted(MESSAGE_LIMITS)
PARSERS = {method: RequestParser.of(method) for method in METHODS}
# Each was expensive to parse: empty entries of lists, of maps and of nested lists, packed numbers, overwritten fields,
# groups, unknown fields, the same with tags and lengths that are longer than necessary.
HOSTILE = [
    bytes.fromhex(unit)
    for unit in (
        "0a00", "3a00", "1200", "0a024200", "0a0442020a00", "0a022a00", "2a021200", "2a0422021200", "12020a00",
        "1a020a00", "1a040a021200", "0b0c", "0800", "7800", "fa0700", "8a0000", "0a8000", "0d00000000",
        "090000000000000000",
    )
]  # fmt: skip


class Steps:
    """Bytes that count how often one of them is read."""

    def __init__(self, data: bytes) -> None:
        self._data, self.taken = data, 0

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: int) -> int:
        self.taken += 1
        return self._data[index]


def field(number: int, kind: int, value: bytes) -> bytes:
    return varint(number << 3 | kind) + value


def varint(value: int) -> bytes:
    rest = b""
    while value > 127:
        rest, value = rest + bytes([value & 127 | 128]), value >> 7
    return rest + bytes([value])


numbers = st.integers(1, 20)
scalars = st.one_of(
    st.builds(lambda n, value: field(n, 0, varint(value)), numbers, st.integers(0, 2**64 - 1)),
    st.builds(lambda n, value: field(n, 1, value), numbers, st.binary(min_size=8, max_size=8)),
    st.builds(lambda n, value: field(n, 5, value), numbers, st.binary(min_size=4, max_size=4)),
    st.builds(lambda n, value: field(n, 2, varint(len(value)) + value), numbers, st.binary(max_size=12)),
)
wire = st.recursive(
    st.lists(scalars, max_size=6).map(b"".join),
    lambda inner: st.lists(
        st.one_of(
            st.builds(lambda n, value: field(n, 2, varint(len(value)) + value), numbers, inner),
            st.builds(lambda n, value: field(n, 3, value + field(n, 4, b"")), numbers, inner),
        ),
        max_size=5,
    ).map(b"".join),
    max_leaves=12,
)


def test_every_method_has_limits() -> None:
    """The table has each method of the service, below what gRPC itself accepts."""
    assert sorted(GATEWAY_SERVICE.methods_by_name) == METHODS
    assert all(limit.size < GRPC_MESSAGE_BYTES for limit in MESSAGE_LIMITS.values())


@given(st.sampled_from(METHODS), st.one_of(wire, st.binary(max_size=64)))
@example("Search", bytes.fromhex("0b0c"))
@example("Search", bytes.fromhex("0b0a020a000c"))
@example("StoreEmbeddings", bytes.fromhex("0b1a01060c"))
def test_what_the_parser_reads_is_counted(method: str, data: bytes) -> None:
    """No bytes that protobuf can parse are refused as broken: the count follows the same grammar."""
    parser = PARSERS[method]
    try:
        parser.kind.FromString(data)
    except DecodeError:
        return
    # A plain submessage counts as all its fields, also if it is empty.
    assert count_fields(data, parser.shape, 10_000, 10_000) <= 10 * len(data)


def fields_of(message: Any) -> int:
    """The number of fields on the wire, each entry of a list for itself."""
    count = 0
    for descriptor, value in message.ListFields():
        for entry in value if descriptor.is_repeated else [value]:
            count += 1 + (fields_of(entry) if descriptor.message_type else 0)
    return count


events = st.builds(
    lambda ids, seconds: gateway_pb2.RecordEventsRequest(
        events=[event_pb2.Event(event_id=id, user_id=id, occurred_at=Timestamp(seconds=seconds)) for id in ids]
    ),
    st.lists(st.text(max_size=3), max_size=20),
    st.integers(0, 5),
)


@given(events)
def test_fields_are_counted_exactly(message: gateway_pb2.RecordEventsRequest) -> None:
    """Every field counts once, submessages and their fields too; a time counts as its two fields."""
    parser = PARSERS["RecordEvents"]
    for event in message.events:
        event.occurred_at.MergeFrom(Timestamp(seconds=1, nanos=1))
    assert count_fields(message.SerializeToString(), parser.shape, 10_000, 10_000) == fields_of(message)


@pytest.mark.parametrize(
    ("method", "message", "field"),
    [
        ("DeleteProducts", gateway_pb2.DeleteProductsRequest(ids=["a"] * 1_000), None),
        ("DeleteProducts", gateway_pb2.DeleteProductsRequest(ids=["a"] * 1_001), "ids"),
        (
            "ExplainItem",
            gateway_pb2.ExplainItemRequest(search=gateway_pb2.SearchRequest(filter={"brands": ["b"] * 101})),  # type: ignore[arg-type]
            "search.filter.brands",
        ),
        (
            "ImportProducts",
            gateway_pb2.ImportProductsRequest(products=[{}, {"category_path": ["c"] * 501}]),  # type: ignore[list-item]
            "products[1].category_path",
        ),
    ],
)
def test_lists_end_at_a_bound(method: str, message: Message, field: str | None) -> None:
    """A list of more entries than any of the method may have is refused before it is parsed, by its path."""
    fields = []
    try:
        PARSERS[method].check(message.SerializeToString())
    except InvalidArgument as error:
        fields = [violation.field for violation in error.violations]
    assert fields == ([field] if field else [])


def test_packed_numbers_count_by_bytes() -> None:
    """Each byte of a packed list may be a number of eight bytes in memory, so each counts."""
    tensor = common_pb2.Tensor(shape=[0] * 5_000)
    message = gateway_pb2.StoreEmbeddingsRequest(vectors=common_pb2.Vectors(values=tensor))
    with pytest.raises(InvalidArgument, match="fields"):
        PARSERS["StoreEmbeddings"].check(message.SerializeToString())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("unit", HOSTILE, ids=bytes.hex)
def test_hostile_bytes_cost_bounded_work(method: str, unit: bytes) -> None:
    """A message of millions of fields is refused after as many steps as the list of it that comes first may have."""
    parser = PARSERS[method]
    data = unit * (parser.limit.size // len(unit))
    for sent in (data, field(3, 2, varint(len(data)) + data), field(1, 2, varint(len(data)) + data)):
        steps: Any = Steps(sent)
        try:
            count = count_fields(steps, parser.shape, parser.limit.fields, parser.limit.entries)
        except (BrokenMessage, TooManyFields):
            count = 0
        # Otherwise the field is one text for this method.
        assert count <= 1
        assert steps.taken <= 40 * (parser.limit.entries + 1)


@given(st.sampled_from(METHODS), st.lists(st.sampled_from(HOSTILE) | st.binary(max_size=9), min_size=1, max_size=6))
def test_mixed_hostile_bytes_cost_bounded_work(method: str, units: list[bytes]) -> None:
    """The same for any mixture: at most a step for each tag, length and byte of a number, up to the limit."""
    parser = PARSERS[method]
    steps: Any = Steps(b"".join(chain.from_iterable([units] * 400)))
    with contextlib.suppress(BrokenMessage, TooManyFields):
        count_fields(steps, parser.shape, 50, 10)
    assert steps.taken <= 50 * 24


def test_the_largest_valid_messages_pass() -> None:
    """1,000 full events and offers, 500 usual products, 500 vectors and the largest filter are within the limits."""
    wide = "\U0001f45f" * 128
    event = {"event_id": wide, "user_id": wide, "visitor_id": wide, "session_id": wide, "item_id": wide, "type": 1,
             "query": wide * 4, "attribution_token": "t" * 1_024, "quantity": 1, "dwell_ms": 1,
             "occurred_at": {"seconds": 1, "nanos": 1}}  # fmt: skip
    money = {"currency_code": "USD", "units": 1, "nanos": 1}
    product = {"id": wide, "title": wide, "brand": wide, "category_path": ["a"] * 4, "price": money, "cost": money,
               "description": wide, "stock": 1, "created_at": {"seconds": 1, "nanos": 1},
               "attributes": {str(name): {"values": ["a", "b"]} for name in range(8)}}  # fmt: skip
    vectors = {"values": {"dtype": 1, "shape": [500, 4_096], "data": bytes(4 * 500 * 4_096)}, "model_version": "m"}
    narrowing = {
        "categories": [wide] * 64,
        "brands": [wide] * 64,
        "attributes": [{"name": "a", "values": [wide] * 64}] * 16,
    }
    time = {"seconds": 1, "nanos": 1}
    offer = {"product_id": wide, "price_list_id": wide[:64], "place_id": wide[:64], "stock": 1, "fulfilments": [1, 2],
             **dict.fromkeys(("price", "sale_price", "base_price"), money), "source": 1, "is_removed": True,
             **dict.fromkeys(("updated_at", "sale_starts_at", "sale_ends_at"), time)}  # fmt: skip
    full: dict[str, Any] = {
        "UpdateOffers": {"offers": [offer] * 1_000},
        "RecordEvents": {"events": [event] * 1_000},
        "ImportProducts": {"products": [product] * 500, "images": [b"i"] * 500},
        "StoreEmbeddings": {"ids": [wide] * 500, "fingerprints": [bytes(16)] * 500, "vectors": vectors},
        "Search": {"query": wide * 4, "image": bytes(8 << 20), "filter": narrowing, "facets": ["brand"] * 8},
        "Recommend": {"filter": narrowing, "page_token": "t" * 4_096},
        "QuotePrices": {"product_ids": [wide] * 100, "currency_code": "USD"},
        "DeleteProducts": {"ids": [wide] * 1_000},
    }
    for method, fields in full.items():
        parser = PARSERS[method]
        message: Any = parser.kind
        data = message(**fields).SerializeToString()
        parser.check(data)
        assert parser.parse(data) == message(**fields)
