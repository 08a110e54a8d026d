"""What makes an event valid: one rule for the gateway, which takes events, and the ranker, which records them."""

from __future__ import annotations

from collections.abc import Iterator

from kairos.common.v1 import event_pb2
from services.common.convert import money_from_proto, time_from_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import (
    MAX_ATTRIBUTION_TOKEN,
    MAX_FEEDBACK_TEXT,
    MAX_QUERY,
    MAX_RATING,
    id_problem,
    text_problem,
)

# Clocks of callers may run ahead of ours by so much.
MAX_AHEAD_S = 86_400.0
_WITHOUT_ITEM = (event_pb2.EVENT_TYPE_SEARCH, event_pb2.EVENT_TYPE_FEEDBACK)


def event_violations(event: event_pb2.Event, path: str, now_s: float) -> list[FieldViolation]:
    """All violations of one event, by field path below `path`; empty for a valid event.

    `now_s` is in seconds since the epoch. Whether an attribution token is genuine is not checked here.
    """
    return [FieldViolation(f"{path}.{field}", problem) for field, problem in _problems(event, now_s)]


def _problems(event: event_pb2.Event, now_s: float) -> Iterator[tuple[str, str]]:
    for field, value in (
        ("event_id", event.event_id), ("user_id", event.user_id), ("visitor_id", event.visitor_id),
        ("session_id", event.session_id), ("item_id", event.item_id), ("order_id", event.order_id),
        ("quote_id", event.quote_id),
    ):  # fmt: skip
        if problem := id_problem(value, required=field == "event_id"):
            yield field, problem
    if not event.user_id and not event.visitor_id:
        yield "user_id", "is empty, and so is visitor_id; send at least one of them"
    for field, value, limit in (
        ("query", event.query, MAX_QUERY), ("attribution_token", event.attribution_token, MAX_ATTRIBUTION_TOKEN),
    ):  # fmt: skip
        if problem := text_problem(value, limit):
            yield field, problem
    if event.type not in event_pb2.EventType.values() or event.type == event_pb2.EVENT_TYPE_UNSPECIFIED:
        yield "type", "is unknown; send a value of EventType other than UNSPECIFIED"
    elif event.type not in _WITHOUT_ITEM and not event.item_id:
        yield "item_id", "is empty; only SEARCH and FEEDBACK have none"
    if (event.type == event_pb2.EVENT_TYPE_FEEDBACK) != event.HasField("feedback"):
        yield "feedback", "is sent with the type FEEDBACK, and only with it"
    elif event.HasField("feedback"):
        yield from _feedback_problems(event.feedback)
    for field, number in (("quantity", event.quantity), ("dwell_ms", event.dwell_ms)):
        if number < 0:
            yield field, f"{number} is negative"
    if event.HasField("price"):
        yield from _price_problems(event)
    if event.HasField("occurred_at"):
        try:
            occurred_s = time_from_proto(event.occurred_at, "occurred_at").timestamp()
        except InvalidArgument as error:
            yield "occurred_at", error.violations[0].description
        else:
            if occurred_s > now_s + MAX_AHEAD_S:
                yield "occurred_at", "is more than a day ahead; send the time at which it happened"


def _feedback_problems(feedback: event_pb2.Feedback) -> Iterator[tuple[str, str]]:
    if not (feedback.thumb or feedback.rating or feedback.text.strip()):
        yield "feedback", "says nothing; send a thumb, a rating or a text"
    if feedback.thumb not in event_pb2.Thumb.values():
        yield "feedback.thumb", "is unknown; send a value of Thumb"
    if not 0 <= feedback.rating <= MAX_RATING:
        yield "feedback.rating", f"is {feedback.rating}; send 1 to {MAX_RATING}"
    if problem := text_problem(feedback.text, MAX_FEEDBACK_TEXT):
        yield "feedback.text", problem
    for field, value in (("conversation_id", feedback.conversation_id), ("turn_id", feedback.turn_id)):
        if problem := id_problem(value, required=False):
            yield f"feedback.{field}", problem


def _price_problems(event: event_pb2.Event) -> Iterator[tuple[str, str]]:
    try:
        price = money_from_proto(event.price, "price")
    except InvalidArgument as error:
        for violation in error.violations:
            yield violation.field, violation.description
    else:
        if price.amount < 0:
            yield "price", f"{price} is negative; send what was paid for one piece"
