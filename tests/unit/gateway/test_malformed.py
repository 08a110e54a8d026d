"""Bytes that are no request: the field is named, and no bytes can hurt."""

from __future__ import annotations

import time

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from kairos.common.v1 import event_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from services.gateway.malformed import invalid_text

SEARCH: Descriptor = gateway_pb2.SearchRequest.DESCRIPTOR
IMPORT: Descriptor = gateway_pb2.ImportProductsRequest.DESCRIPTOR


@given(st.binary(max_size=300))
def test_any_bytes_are_survived(data: bytes) -> None:
    """Whatever bytes come, the search for the field ends without an error."""
    assert isinstance(invalid_text(IMPORT, data), str)


@given(st.binary(max_size=60))
def test_readable_requests_are_not_accused(data: bytes) -> None:
    """What protobuf can read has no field that is not UTF-8."""
    try:
        gateway_pb2.SearchRequest.FromString(data)
    except DecodeError:
        return
    assert invalid_text(SEARCH, data) == ""


@given(st.integers(0, 20), st.sampled_from(["title", "brand", "category_path", "description"]))
def test_the_path_leads_to_the_text(before: int, field: str) -> None:
    """Behind any number of good products, the wrong text is found at its index and its field."""
    bad = product_pb2.Product(id="x", title="t", category_path=["Shoes"])
    if field == "category_path":
        bad.category_path.append("qqqq")
    else:
        setattr(bad, field, "qqqq")
    good = [product_pb2.Product(id=f"p{number}", title="größe") for number in range(before)]
    message = gateway_pb2.ImportProductsRequest(products=[*good, bad])
    data = message.SerializeToString().replace(b"qqqq", b"\xff\xfe\xfd\xfc")
    with pytest.raises(DecodeError):
        gateway_pb2.ImportProductsRequest.FromString(data)
    path = "category_path[1]" if field == "category_path" else field
    assert invalid_text(IMPORT, data) == f"products[{before}].{path}"


def test_the_value_of_a_map() -> None:
    """A wrong text in a map is found below the map's entry."""
    product = product_pb2.Product(id="x", localized_titles={"zh": "qqqq"})
    data = gateway_pb2.ImportProductsRequest(products=[product]).SerializeToString().replace(b"qqqq", b"\xff" * 4)
    assert invalid_text(IMPORT, data) == "products[0].localized_titles[0].value"


def test_numbers_are_stepped_over() -> None:
    """Fields of fixed and variable length before the text do not hide it."""
    event = event_pb2.Event(event_id="e", quantity=-1, dwell_ms=2**40, query="qqqq")
    event.occurred_at.FromSeconds(2**33)
    data = gateway_pb2.RecordEventsRequest(events=[event]).SerializeToString().replace(b"qqqq", b"\xff" * 4)
    assert invalid_text(gateway_pb2.RecordEventsRequest.DESCRIPTOR, data) == "events[0].query"


@pytest.mark.parametrize("data", [b"\x80" * 4_000_000, b"\x0a" + b"\xff" * 4_000_000], ids=["tag", "length"])
def test_a_number_without_end(data: bytes) -> None:
    """Megabytes that claim to be one number are given up after ten bytes, not worked through."""
    began = time.monotonic()
    assert invalid_text(SEARCH, data) == ""
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize(
    "data", [b"\x0a\x05ab", b"\x0a", b"\x0b\x0c", b"\x0d\x00"], ids=["cut", "bare", "group", "fixed"]
)
def test_broken_messages_name_no_field(data: bytes) -> None:
    """A message that is cut off or of an unknown wire type has no wrong text."""
    assert invalid_text(SEARCH, data) == ""
