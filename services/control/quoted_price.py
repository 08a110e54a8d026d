"""The content of a quote's audit entry: what is wrong with it, and its columns in the archive.

Both are read from the messages of pricing: a field that is added there is checked and archived too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import common_pb2
from kairos.control.v1 import audit_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.money import MAX_UNITS, NANOS, currency_problem
from services.control.domain.audit import Entry

_MONEY, _TIME = common_pb2.Money.DESCRIPTOR, Timestamp.DESCRIPTOR
_PARTS = {"item": pricing_pb2.PricedItem.DESCRIPTOR, "quote": pricing_pb2.PriceQuote.DESCRIPTOR}
# The years 1 to 9999.
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
# Fields of the item that the quote has too, with the same value. The id of the quote is that of the entry.
_SAME = ("item_id", "list_price")
_NOT_ARCHIVED = {*(("item", field) for field in _SAME), ("quote", "quote_id")}
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
    for part, fields in _CHECKED.items():
        message: Any = getattr(quoted, part)
        for field, type in fields:
            if message.HasField(field):
                value = getattr(message, field)
                problem = _money_problem(value, currency) if type is _MONEY else time_problem(value)
                if problem:
                    yield f"{part}.{field}", problem


def time_problem(moment: Timestamp) -> str | None:
    """What is wrong with it, for an error's text; None for a valid one."""
    if _FIRST_S <= moment.seconds <= _LAST_S and 0 <= moment.nanos < NANOS:
        return None
    return "is no time between the years 1 and 9999"


def microseconds_of(moment: Timestamp) -> int:
    """Since the epoch, rounded down."""
    return int(moment.seconds * 1_000_000 + moment.nanos // 1_000)


def quote_values(tenant: str, entry: Entry) -> list[Any]:
    """Of QUOTE_COLUMNS. None for a field that is not set."""
    quoted = audit_pb2.QuotedPrice.FromString(entry.content)
    values: list[Any] = [tenant, entry.id, entry.recorded_us, entry.subject_id, entry.request_id]
    values.append(quoted.item.list_price.currency_code)
    for part, fields in _ARCHIVED.items():
        message = getattr(quoted, part)
        for field, read in fields:
            is_set = not field.has_presence or message.HasField(field.name)
            values.append(read(getattr(message, field.name)) if is_set else None)
    return values


def _money_problem(money: common_pb2.Money, currency: str) -> str | None:
    units, nanos = money.units, money.nanos
    if money.currency_code != currency:
        return f"is in {money.currency_code[:16]!r}, the list price in {currency[:16]!r}; use one currency"
    if not -MAX_UNITS <= units <= MAX_UNITS or not -NANOS < nanos < NANOS:
        return f"has {units} units and {nanos} nanos; units are at most {MAX_UNITS}, nanos below {NANOS}"
    return None


def _amount(money: common_pb2.Money) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos) / NANOS


def _reader(field: FieldDescriptor) -> tuple[str, Callable[[Any], Any]]:
    """The type of the field's column, and how its value is read."""
    if field.is_repeated:
        return "texts", list
    if field.message_type is not None:
        return ("amount", _amount) if field.message_type is _MONEY else ("time", microseconds_of)
    if field.enum_type is not None:
        enum = field.enum_type
        # PRICE_REASON_AGED is aged. A value that a newer version has sent is a number.
        prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
        names = {value.number: value.name.removeprefix(prefix).lower() for value in enum.values}
        return "text", lambda number: names.get(number, str(number))
    return ("text", str) if field.type == FieldDescriptor.TYPE_STRING else ("integer", int)


_CHECKED = {
    part: [(f.name, f.message_type) for f in descriptor.fields if f.message_type in (_MONEY, _TIME)]
    for part, descriptor in _PARTS.items()
}
_ARCHIVED: dict[str, list[tuple[FieldDescriptor, Callable[[Any], Any]]]] = {}
# The columns of the archive: name and type, as ArchivedColumns describes them.
QUOTE_COLUMNS = dict.fromkeys(("tenant", "quote_id"), "text") | {"recorded_at": "time"}
QUOTE_COLUMNS |= dict.fromkeys(("subject_id", "request_id", "currency"), "text")
for _part, _descriptor in _PARTS.items():
    _ARCHIVED[_part] = []
    for _field in _descriptor.fields:
        if (_part, _field.name) not in _NOT_ARCHIVED:
            _type, _read = _reader(_field)
            _ARCHIVED[_part].append((_field, _read))
            QUOTE_COLUMNS[_NAMES.get(_field.name, _field.name) if _part == "item" else _field.name] = _type
