"""Protobuf <-> domain for the audit. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from kairos.control.v1 import audit_pb2
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import id_problem
from services.control.audit_fields import microseconds_of, time_problem
from services.control.domain.audit import Entry, EntryFilter, EntryKind
from services.control.domain.limits import MAX_ENTRIES, MAX_ENTRY_AGE_S, MAX_ENTRY_AHEAD_S, MAX_ENTRY_BYTES
from services.control.price_decision import price_decision_problems
from services.control.quoted_price import quoted_price_problems

_NUMBERS = {
    EntryKind.PRICE_QUOTE: audit_pb2.ENTRY_KIND_PRICE_QUOTE,
    EntryKind.PRICE_DECISION: audit_pb2.ENTRY_KIND_PRICE_DECISION,
}
_KINDS = {number: kind for kind, number in _NUMBERS.items()}
# By the name of the content in AuditEntry.
_CONTENTS = {"quoted_price": EntryKind.PRICE_QUOTE, "price_decision": EntryKind.PRICE_DECISION}
_FIELDS = {kind: field for field, kind in _CONTENTS.items()}
# Wrong fields that an error names.
_MOST_VIOLATIONS = 20


def entries_from_proto(messages: Sequence[audit_pb2.AuditEntry], now_s: float) -> list[Entry]:
    """`now_s`: seconds since the epoch."""
    if not 1 <= len(messages) <= MAX_ENTRIES:
        raise InvalidArgument.of("entries", f"has {len(messages)} entries; send 1 to {MAX_ENTRIES}")
    wrong = (
        FieldViolation(f"entries[{place}].{field}", problem)
        for place, message in enumerate(messages)
        for field, problem in _problems(message, now_s)
    )
    if first := list(islice(wrong, _MOST_VIOLATIONS)):
        raise InvalidArgument(*first)
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
            if problem := time_problem(moment):
                raise InvalidArgument.of(field, problem)
            times[field] = microseconds_of(moment)
    from_us, until_us = times["from"], times["until"]
    if from_us is not None and until_us is not None and until_us <= from_us:
        raise InvalidArgument.of("until", "is not later than from; swap them, or leave one out")
    kind = entry_kind_from_proto(request.kind) if request.kind else None
    return EntryFilter(kind, request.subject_id, request.request_id, from_us, until_us)


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
    elif problem := time_problem(moment):
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
    wrong = (
        quoted_price_problems(message.id, message.quoted_price)
        if content == "quoted_price"
        else price_decision_problems(message.subject_id, message.price_decision)
    )
    for field, problem in wrong:
        yield f"{content}.{field}", problem


def _entry(message: audit_pb2.AuditEntry) -> Entry:
    field = message.WhichOneof("content") or ""
    # The same bytes for the same content.
    content = getattr(message, field).SerializeToString(deterministic=True)
    recorded_us = microseconds_of(message.recorded_at)
    return Entry(_CONTENTS[field], message.id, recorded_us, message.subject_id, message.request_id, content)
