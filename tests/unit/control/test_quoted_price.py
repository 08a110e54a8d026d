"""The columns of archived quotes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor

from kairos.common.v1 import common_pb2
from kairos.control.v1 import audit_pb2
from kairos.pricing.v1 import pricing_pb2
from services.control.domain.audit import Entry, EntryKind
from services.control.quoted_price import QUOTE_COLUMNS, quote_values

FIELDS = [
    (part, field)
    for part, message in (("item", pricing_pb2.PricedItem), ("quote", pricing_pb2.PriceQuote))
    for field in message.DESCRIPTOR.fields
    # The quote and the entry have the same values.
    if (part, field.name) not in (("item", "item_id"), ("item", "list_price"), ("quote", "quote_id"))
]


def row(content: audit_pb2.QuotedPrice) -> dict[str, Any]:
    entry = Entry(EntryKind.PRICE_QUOTE, "q1", 5_000_000, "p1", "r1", content.SerializeToString())
    return dict(zip(QUOTE_COLUMNS, quote_values("shop", entry), strict=True))


@pytest.mark.parametrize(("part", "field"), FIELDS, ids=[f"{part}.{field.name}" for part, field in FIELDS])
def test_every_field_is_archived(part: str, field: FieldDescriptor) -> None:
    """Each field of the messages of pricing has exactly one column of its own."""
    content = audit_pb2.QuotedPrice()
    message: Any = getattr(content, part)
    if field.is_repeated:
        getattr(message, field.name).append("x")
    elif field.message_type is not None:
        first = field.message_type.fields[1 if field.message_type is common_pb2.Money.DESCRIPTOR else 0]
        setattr(getattr(message, field.name), first.name, 7)
    else:
        setattr(message, field.name, "x" if field.type == FieldDescriptor.TYPE_STRING else 1)
    before, after = row(audit_pb2.QuotedPrice()), row(content)
    assert [column for column in QUOTE_COLUMNS if before[column] != after[column]] != []
    assert sum(before[column] != after[column] for column in QUOTE_COLUMNS) == 1


def test_values_are_what_they_mean() -> None:
    """Amounts are decimals, times are microseconds, enums are words, and what is not set is None."""
    content = audit_pb2.QuotedPrice()
    content.item.stock = 0
    content.quote.offer.units, content.quote.offer.nanos = 9, 500_000_000
    content.quote.quoted_at.FromMilliseconds(1_500)
    content.quote.reason = pricing_pb2.PRICE_REASON_LIST_PRICE
    content.item.category_path.extend(["Shoes", "Boots"])
    found = row(content)
    assert (found["tenant"], found["quote_id"], found["recorded_at"]) == ("shop", "q1", 5_000_000)
    assert (found["offer"], found["quoted_at"], found["reason"]) == (Decimal("9.5"), 1_500_000, "list_price")
    assert (found["stock"], found["cost"], found["valid_until"]) == (0, None, None)
    assert found["category_path"] == ["Shoes", "Boots"]


def test_a_value_of_a_newer_version_is_kept() -> None:
    """An enum value that this version does not know is archived as its number."""
    content = audit_pb2.QuotedPrice()
    content.quote.reason = 99  # type: ignore[assignment]
    assert row(content)["reason"] == "99"


def test_the_columns_of_the_earlier_log_are_there() -> None:
    """Queries of the archive that pricing wrote find their columns; times have lost their unit and got a type."""
    earlier = {
        "tenant", "quote_id", "item_id", "currency", "list_price", "cost", "merchandiser_floor",
        "merchandiser_ceiling", "stock", "created_s", "price_floor", "price_ceiling", "offer", "reason", "explanation",
        "model_version", "request_id", "price_list_id", "place_id",
    }  # fmt: skip
    assert earlier | {"quoted_at", "valid_until"} <= QUOTE_COLUMNS.keys()
