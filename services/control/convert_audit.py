"""Protobuf <-> domain for the audit, and the columns of archived entries. Raises InvalidArgument with the path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import common_pb2
from kairos.control.v1 import audit_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import id_problem
from services.common.money import MAX_UNITS, NANOS, currency_problem
from services.control.domain.audit import Entry, EntryFilter, EntryKind
from services.control.domain.limits import MAX_ENTRIES, MAX_ENTRY_AGE_S, MAX_ENTRY_AHEAD_S, MAX_ENTRY_BYTES

_NUMBERS = {EntryKind.PRICE_QUOTE: audit_pb2.ENTRY_KIND_PRICE_QUOTE}
_KINDS = {number: kind for kind, number in _NUMBERS.items()}
# By the name of the content in AuditEntry.
_CONTENTS = {"quoted_price": EntryKind.PRICE_QUOTE}
_FIELDS = {kind: field for field, kind in _CONTENTS.items()}
# The years 1 to 9999.
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
_REASON = "PRICE_REASON_"

QUOTE_COLUMNS = {
    "tenant": "text", "quote_id": "text", "item_id": "text", "recorded_at": "time", "request_id": "text",
    "currency": "text", "list_price": "amount", "cost": "amount", "merchandiser_floor": "amount",
    "merchandiser_ceiling": "amount", "stock": "integer", "created_s": "integer", "published_offer": "amount",
    "price_floor": "amount", "price_ceiling": "amount", "offer": "amount", "reason": "text", "explanation": "text",
    "model_version": "text", "quoted_at": "time", "valid_until": "time", "price_list_id": "text", "place_id": "text",
}  # fmt: skip


def entries_from_proto(messages: Sequence[audit_pb2.AuditEntry], now_s: float) -> list[Entry]:
    """`now_s`: seconds since the epoch."""
    if not 1 <= len(messages) <= MAX_ENTRIES:
        raise InvalidArgument.of("entries", f"has {len(messages)} entries; send 1 to {MAX_ENTRIES}")
    if wrong := [
        FieldViolation(f"entries[{place}].{field}", problem)
        for place, message in enumerate(messages)
        for field, problem in _problems(message, now_s)
    ]:
        raise InvalidArgument(*wrong)
    return [_entry(message) for message in messages]


def entry_to_proto(entry: Entry) -> audit_pb2.AuditEntry:
    message = audit_pb2.AuditEntry(id=entry.id, subject_id=entry.subject_id, request_id=entry.request_id)
    message.recorded_at.FromMicroseconds(entry.recorded_us)
    getattr(message, _FIELDS[entry.kind]).ParseFromString(entry.content)
    return message


def entry_kind_from_proto(number: int) -> EntryKind:
    if number not in _KINDS:
        raise InvalidArgument.of("kind", f"is {number}; send one of the kinds {', '.join(map(str, _KINDS))}")
    return _KINDS[number]  # type: ignore[index]


def entry_filter_from_proto(request: audit_pb2.ListEntriesRequest) -> EntryFilter:
    for field in ("subject_id", "request_id"):
        if problem := id_problem(getattr(request, field), required=False):
            raise InvalidArgument.of(field, problem)
    times: dict[str, int | None] = {"from": None, "until": None}
    for field in times:
        if request.HasField(field):  # type: ignore[arg-type]
            moment = getattr(request, field)
            if problem := _time_problem(moment):
                raise InvalidArgument.of(field, problem)
            times[field] = _microseconds(moment)
    from_us, until_us = times["from"], times["until"]
    if from_us is not None and until_us is not None and until_us <= from_us:
        raise InvalidArgument.of("until", "is not later than from; swap them, or leave one out")
    kind = entry_kind_from_proto(request.kind) if request.kind else None
    return EntryFilter(kind, request.subject_id, request.request_id, from_us, until_us)


def quote_values(tenant: str, entry: Entry) -> tuple[Any, ...]:
    """Of QUOTE_COLUMNS."""
    quoted = pricing_of(entry)
    item, quote = quoted.item, quoted.quote
    reason = quote.reason
    named = reason in pricing_pb2.PriceReason.values()
    return (
        tenant, entry.id, quote.item_id, entry.recorded_us, entry.request_id,
        item.list_price.currency_code, _amount(item.list_price),
        _amount(item.cost) if item.HasField("cost") else None,
        _amount(item.price_floor) if item.HasField("price_floor") else None,
        _amount(item.price_ceiling) if item.HasField("price_ceiling") else None,
        item.stock if item.HasField("stock") else None, item.created_at_seconds,
        _amount(item.offer) if item.HasField("offer") else None,
        _amount(quote.price_floor), _amount(quote.price_ceiling), _amount(quote.offer),
        pricing_pb2.PriceReason.Name(reason).removeprefix(_REASON).lower() if named else str(reason),
        quote.explanation, quote.model_version, _microseconds(quote.quoted_at), _microseconds(quote.valid_until),
        item.price_list_id, item.place_id,
    )  # fmt: skip


def pricing_of(entry: Entry) -> audit_pb2.QuotedPrice:
    """The content of a quote."""
    return audit_pb2.QuotedPrice.FromString(entry.content)


def _problems(message: audit_pb2.AuditEntry, now_s: float) -> Iterator[tuple[str, str]]:
    """(field, problem) of an entry."""
    if problem := id_problem(message.id):
        yield "id", problem
    for field, value in (("subject_id", message.subject_id), ("request_id", message.request_id)):
        if problem := id_problem(value, required=False):
            yield field, problem
    moment = message.recorded_at
    if not message.HasField("recorded_at"):
        yield "recorded_at", "is missing; it is required"
    elif problem := _time_problem(moment):
        yield "recorded_at", problem
    elif not now_s - MAX_ENTRY_AGE_S <= moment.seconds <= now_s + MAX_ENTRY_AHEAD_S:
        yield (
            "recorded_at",
            (
                f"is {moment.ToJsonString()}, more than {MAX_ENTRY_AGE_S // 86_400} days ago or more than "
                f"{MAX_ENTRY_AHEAD_S // 86_400} day ahead; correct the clock of the sender"
            ),
        )
    content = message.WhichOneof("content")
    if content is None:
        yield "content", f"is missing; set one of {', '.join(_CONTENTS)}"
        return
    if (size := getattr(message, content).ByteSize()) > MAX_ENTRY_BYTES:
        yield content, f"has {size} bytes; send at most {MAX_ENTRY_BYTES}"
    yield from ((f"{content}.{field}", problem) for field, problem in _quote_problems(message))


def _quote_problems(message: audit_pb2.AuditEntry) -> Iterator[tuple[str, str]]:
    """What would keep a quote out of the archive."""
    item, quote = message.quoted_price.item, message.quoted_price.quote
    if quote.quote_id != message.id:
        yield "quote.quote_id", f"is {quote.quote_id[:128]!r}; send the id of the entry"
    currency = item.list_price.currency_code
    if problem := currency_problem(currency):
        yield "item.list_price.currency_code", problem
    for field, part, is_set in (
        ("item.list_price", item.list_price, True),
        ("item.cost", item.cost, item.HasField("cost")),
        ("item.price_floor", item.price_floor, item.HasField("price_floor")),
        ("item.price_ceiling", item.price_ceiling, item.HasField("price_ceiling")),
        ("item.offer", item.offer, item.HasField("offer")),
        ("quote.price_floor", quote.price_floor, True),
        ("quote.price_ceiling", quote.price_ceiling, True),
        ("quote.offer", quote.offer, True),
    ):
        if is_set and (problem := _money_problem(part, currency)):
            yield field, problem
    for field, moment in (("quote.quoted_at", quote.quoted_at), ("quote.valid_until", quote.valid_until)):
        if problem := _time_problem(moment):
            yield field, problem


def _money_problem(money: common_pb2.Money, currency: str) -> str | None:
    units, nanos = money.units, money.nanos
    if money.currency_code != currency:
        return f"is in {money.currency_code[:16]!r}, the list price in {currency[:16]!r}; use one currency"
    if not -MAX_UNITS <= units <= MAX_UNITS or not -NANOS < nanos < NANOS:
        return f"has {units} units and {nanos} nanos; units are at most {MAX_UNITS}, nanos below {NANOS}"
    return None


def _time_problem(moment: Timestamp) -> str | None:
    if _FIRST_S <= moment.seconds <= _LAST_S and 0 <= moment.nanos < NANOS:
        return None
    return "is no time between the years 1 and 9999"


def _microseconds(moment: Timestamp) -> int:
    return int(moment.seconds * 1_000_000 + moment.nanos // 1_000)


def _amount(money: common_pb2.Money) -> Decimal:
    return Decimal(money.units) + Decimal(money.nanos) / NANOS


def _entry(message: audit_pb2.AuditEntry) -> Entry:
    field = message.WhichOneof("content") or ""
    # The same bytes for the same content.
    content = getattr(message, field).SerializeToString(deterministic=True)
    recorded_us = _microseconds(message.recorded_at)
    return Entry(_CONTENTS[field], message.id, recorded_us, message.subject_id, message.request_id, content)
