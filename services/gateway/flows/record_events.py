"""RecordEvents: the ranker stores valid events durably before the call returns; the gateway adds what items are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import FieldViolation, InvalidArgument
from services.common.events import event_violations
from services.common.limits import MAX_FEEDBACK_TEXT
from services.common.personal_data import masked
from services.gateway import fallbacks
from services.gateway.domain.budget import Stage
from services.gateway.domain.tokens import AttributionToken
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls
from services.gateway.steps import in_steps

MAX_EVENTS = 1_000


async def record_events(
    calls: StageCalls, parts: Parts, message: gateway_pb2.RecordEventsRequest
) -> gateway_pb2.RecordEventsResponse:
    """Raises InvalidArgument, and what the ranker's call raises: acknowledged events are durable."""
    wrong = await check_events(message.events, parts.token_keys.of(calls.info.tenant), parts.clock())
    rejected = [rejected_event(index, violations[0]) for index, violations in wrong.items()]
    events = [event for index, event in enumerate(message.events) if index not in wrong]
    recorded, missing = await _record(calls, parts, events)
    return gateway_pb2.RecordEventsResponse(
        recorded_count=recorded,
        duplicate_count=len(events) - recorded,
        missing_ids=missing,
        degradations=calls.degradations,
        request_id=calls.info.request_id,
        rejected=rejected,
    )


async def record_feedback(
    calls: StageCalls, parts: Parts, message: gateway_pb2.RecordFeedbackRequest
) -> gateway_pb2.RecordFeedbackResponse:
    """Feedback is an event. Raises InvalidArgument with the paths of RecordFeedbackRequest."""
    if message.feedback.is_product_review or message.feedback.moderation:
        problem = "is of a product review; send it with ImportProductReviews"
        raise InvalidArgument.of("feedback.is_product_review", problem)
    event = event_pb2.Event(
        event_id=message.feedback_id, user_id=message.user_id, visitor_id=message.visitor_id,
        session_id=message.session_id, attribution_token=message.attribution_token, item_id=message.item_id,
        type=event_pb2.EVENT_TYPE_FEEDBACK, feedback=message.feedback,
    )  # fmt: skip
    if message.HasField("occurred_at"):
        event.occurred_at.CopyFrom(message.occurred_at)
    try:
        await check_events([event], parts.token_keys.of(calls.info.tenant), parts.clock(), takes_feedback=True)
    except InvalidArgument as error:
        raise InvalidArgument(*(_of_feedback(violation) for violation in error.violations)) from None
    # In a thread: loading the patterns takes a second, once.
    # Masked, it may be longer than the ranker takes.
    event.feedback.text = (await asyncio.to_thread(masked, event.feedback.text))[:MAX_FEEDBACK_TEXT]
    recorded, _ = await _record(calls, parts, [event])
    if event.feedback.thumb == event_pb2.THUMB_DOWN:
        parts.reviews.ask_about_answer(calls.info.tenant, event.feedback)
    return gateway_pb2.RecordFeedbackResponse(is_duplicate=not recorded, request_id=calls.info.request_id)


def _of_feedback(violation: FieldViolation) -> FieldViolation:
    field = violation.field.removeprefix(f"{_path(0)}.")
    return FieldViolation({"event_id": "feedback_id"}.get(field, field), violation.description)


async def _record(calls: StageCalls, parts: Parts, events: list[event_pb2.Event]) -> tuple[int, list[str]]:
    """(how many of the valid events are new, ids that the catalogue does not have)."""
    for event in events:
        if not event.HasField("occurred_at"):
            event.occurred_at.FromNanoseconds(int(parts.clock() * 1e9))
    item_ids = sorted({event.item_id for event in events if event.item_id})
    items, missing = await _features(calls, parts, item_ids)
    record = ranker_pb2.RecordEventsRequest(events=events, items=items)
    answer = await calls.call(
        Stage.RANKER, parts.stubs.ranker.RecordEvents, record,
        # An empty message, as an ingress may send while a replica restarts, acknowledges nothing.
        is_valid=lambda counts: counts.recorded_count + counts.duplicate_count == len(events),
    )  # fmt: skip
    await _count(calls, parts, events)
    return answer.recorded_count, missing


async def check_events(
    events: Iterable[event_pb2.Event], token_keys: tuple[str, ...], now_s: float, takes_feedback: bool = False
) -> dict[int, list[FieldViolation]]:
    """The violations of each invalid event, by its index. `now_s`: seconds since the epoch.

    Raises InvalidArgument that names every wrong field if all events are invalid, and for a wrong number of them.
    """
    batch = list(events)
    if not 1 <= len(batch) <= MAX_EVENTS:
        raise InvalidArgument.of("events", f"holds {len(batch)}; send 1 to {MAX_EVENTS}")
    wrong = dict[int, list[FieldViolation]]()
    async for index, event in in_steps(enumerate(batch)):
        path = _path(index)
        violations = event_violations(event, path, now_s)
        if event.type == event_pb2.EVENT_TYPE_FEEDBACK and not takes_feedback:
            violations.append(FieldViolation(f"{path}.type", "is FEEDBACK; send it with RecordFeedback"))
        if event.attribution_token and AttributionToken.decode(event.attribution_token, *token_keys) is None:
            problem = "is damaged or of another shop; send the token of the answer unchanged, or none"
            violations.append(FieldViolation(f"{path}.attribution_token", problem))
        if violations:
            wrong[index] = violations
    if len(wrong) == len(batch):
        raise InvalidArgument(*(violation for violations in wrong.values() for violation in violations))
    return wrong


def rejected_event(index: int, violation: FieldViolation) -> gateway_pb2.RejectedEvent:
    """An invalid event, with the first of its violations."""
    field = violation.field.removeprefix(f"{_path(index)}.")
    return gateway_pb2.RejectedEvent(index=index, field=field, reason=violation.description)


def _path(index: int) -> str:
    return f"events[{index}]"


async def _features(
    calls: StageCalls, parts: Parts, item_ids: list[str]
) -> tuple[retrieval_pb2.Candidates | None, list[str]]:
    """(the catalogue's features of the items, ids that the catalogue does not have). Without retrieval: (None, [])."""
    if not item_ids:
        return None, []
    lookup = retrieval_pb2.LookupProductsRequest(ids=item_ids, with_vectors=True)
    answer = await calls.call_or_degrade(
        Stage.RETRIEVAL, parts.stubs.retrieval.LookupProducts, lookup, [Stage.RANKER], fallbacks.EVENTS_WITHOUT_FEATURES
    )
    return (answer.candidates, list(answer.missing_ids)) if answer is not None else (None, [])


async def _count(calls: StageCalls, parts: Parts, events: Iterable[event_pb2.Event]) -> None:
    """Metrics of recorded events. An event that is sent twice counts twice."""
    token_keys = parts.token_keys.of(calls.info.tenant)
    async for event in in_steps(events):
        parts.metrics.count_event(event)
        if event.type == event_pb2.EVENT_TYPE_CLICK:
            token = AttributionToken.decode(event.attribution_token, *token_keys)
            if token is None:
                parts.metrics.clicks.labels("none").inc()
            else:
                parts.click_positions.count(calls.info.tenant, token.ranking_id, event.item_id)
