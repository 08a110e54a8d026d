"""The content of a quote's audit entry: what is wrong with it, and its columns in the archive."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kairos.control.v1 import audit_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.money import currency_problem
from services.control.audit_fields import Checked, columns_of, fill
from services.control.domain.audit import Entry

_PARTS = {"item": pricing_pb2.PricedItem.DESCRIPTOR, "quote": pricing_pb2.PriceQuote.DESCRIPTOR}
_CHECKED = {part: Checked(descriptor) for part, descriptor in _PARTS.items()}
# Fields of the item that the quote has too, with the same value. The id of the quote is that of the entry.
_SAME = ("item_id", "list_price")
# Columns of the item that are named otherwise than their field: the quote has fields with these names, or the log of
# earlier versions had the column.
_NAMES = {
    "price_floor": "merchandiser_floor",
    "price_ceiling": "merchandiser_ceiling",
    "created_at_seconds": "created_s",
    "offer": "published_offer",
    "guardrail": "published_guardrail",
    "lowest_price_30_days": "published_lowest_price_30_days",
}
_ARCHIVED = {
    "item": columns_of(_PARTS["item"], _SAME, _NAMES),
    "quote": columns_of(_PARTS["quote"], ("quote_id",)),
}
# The columns of the archive: name and type, as ArchivedColumns describes them.
QUOTE_COLUMNS = {
    "tenant": "text", "quote_id": "text", "recorded_at": "time", "subject_id": "text", "request_id": "text",
    "currency": "text", **{column.name: column.type for columns in _ARCHIVED.values() for column in columns},
}  # fmt: skip


def quoted_price_problems(id: str, quoted: audit_pb2.QuotedPrice) -> Iterator[tuple[str, str]]:
    """(field, problem) of what could not be archived, or says two things. `id`: of the entry."""
    item, quote = quoted.item, quoted.quote
    if quote.quote_id != id:
        yield "quote.quote_id", f"is {quote.quote_id[:128]!r}; send the id of the entry"
    for field in _SAME:
        if getattr(quote, field) != getattr(item, field):
            yield f"quote.{field}", f"is not item.{field}; send the same"
    currency = item.list_price.currency_code
    if problem := currency_problem(currency):
        yield "item.list_price.currency_code", problem
    for part, checked in _CHECKED.items():
        for field, problem in checked.problems(getattr(quoted, part), currency):
            yield f"{part}.{field}", problem


def quote_of(row: Mapping[str, Any]) -> audit_pb2.AuditEntry:
    """The entry of a row of the archive."""
    entry = audit_pb2.AuditEntry(id=row["quote_id"], subject_id=row["subject_id"], request_id=row["request_id"])
    entry.recorded_at.FromDatetime(row["recorded_at"])
    item, quote = entry.quoted_price.item, entry.quoted_price.quote
    fill(item, row, _SAME, _NAMES)
    fill(quote, row)
    for field in _SAME:
        value = getattr(quote, field)
        if isinstance(value, str):
            setattr(item, field, value)
        else:
            getattr(item, field).CopyFrom(value)
    return entry


def quote_values(tenant: str, entry: Entry) -> list[Any]:
    """Of QUOTE_COLUMNS. None for a field that is not set."""
    quoted = audit_pb2.QuotedPrice.FromString(entry.content)
    values: list[Any] = [tenant, entry.id, entry.recorded_us, entry.subject_id, entry.request_id]
    values.append(quoted.item.list_price.currency_code)
    for part, columns in _ARCHIVED.items():
        message = getattr(quoted, part)
        values += [column.read(message) for column in columns]
    return values
