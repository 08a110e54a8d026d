"""RecordEvents: durable in the ranker before it returns; the items' features go along."""

from __future__ import annotations

import time
from collections.abc import Iterator

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_from_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.gateway.domain.budget import Stage
from services.gateway.domain.tokens import AttributionToken
from services.gateway.flow import Parts
from services.gateway.shop_metrics import count_events
from services.gateway.stages import Request

MAX_EVENTS = 1_000
MAX_ID = 128
MAX_QUERY = 512
_DAY_S = 86_400


async def record_events(
    request: Request, parts: Parts, message: gateway_pb2.RecordEventsRequest
) -> gateway_pb2.RecordEventsResponse:
    check_events(message, parts.token_key)
    for event in message.events:
        if not event.HasField("occurred_at"):
            event.occurred_at.GetCurrentTime()
    item_ids = sorted({event.item_id for event in message.events if event.item_id})
    items, missing = await _features(request, parts, item_ids)
    record = ranker_pb2.RecordEventsRequest(events=message.events, items=items)
    answer = await request.call_stage(Stage.RANKER, parts.clients.ranker.RecordEvents, record)
    count_events(request, parts.memory, parts.token_key, message.events)
    if items is not None:
        _remember(request, parts, message, items)
    return gateway_pb2.RecordEventsResponse(
        recorded_count=answer.recorded_count,
        duplicate_count=answer.duplicate_count,
        missing_ids=missing,
        degradations=request.degradations,
        request_id=request.call.request_id,
    )


def check_events(message: gateway_pb2.RecordEventsRequest, token_key: str) -> None:
    """Raises InvalidArgument that names every wrong field; nothing is recorded then."""
    if not 1 <= len(message.events) <= MAX_EVENTS:
        raise InvalidArgument.of("events", f"holds {len(message.events)}; send 1 to {MAX_EVENTS}")
    wrong = [
        FieldViolation(f"events[{index}].{field}", problem)
        for index, event in enumerate(message.events)
        for field, problem in _problems(event, token_key)
    ]
    if wrong:
        raise InvalidArgument(*wrong)


def _problems(event: event_pb2.Event, token_key: str) -> Iterator[tuple[str, str]]:
    for field, value in (("event_id", event.event_id), ("user_id", event.user_id)):
        if not 1 <= len(value) <= MAX_ID:
            yield field, f"has {len(value)} characters; 1 to {MAX_ID}"
    for field, value, limit in (("session_id", event.session_id, MAX_ID), ("query", event.query, MAX_QUERY)):
        if len(value) > limit:
            yield field, f"has {len(value)} characters; at most {limit}"
    if event.type not in event_pb2.EventType.values() or event.type == event_pb2.EVENT_TYPE_UNSPECIFIED:
        yield "type", "is unknown; send a value of EventType other than UNSPECIFIED"
    elif event.type != event_pb2.EVENT_TYPE_SEARCH and not 1 <= len(event.item_id) <= MAX_ID:
        yield "item_id", f"has {len(event.item_id)} characters; 1 to {MAX_ID} for every type but SEARCH"
    if event.quantity < 0:
        yield "quantity", f"{event.quantity} is negative"
    if event.dwell_ms < 0:
        yield "dwell_ms", f"{event.dwell_ms} is negative"
    if event.HasField("occurred_at") and event.occurred_at.seconds > time.time() + _DAY_S:
        yield "occurred_at", "lies more than a day ahead; send when it happened"
    if event.attribution_token and AttributionToken.decode(event.attribution_token, token_key) is None:
        yield "attribution_token", "is none of this shop's, or is damaged; send it as it came, or leave it out"


async def _features(
    request: Request, parts: Parts, item_ids: list[str]
) -> tuple[retrieval_pb2.Candidates | None, list[str]]:
    """(what the catalogue knows of the items, the ids that it does not know). Without retrieval: (None, [])."""
    if not item_ids:
        return None, []
    lookup = retrieval_pb2.LookupProductsRequest(ids=item_ids, with_vectors=True)
    answer = await request.call_or_degrade(
        Stage.RETRIEVAL, parts.clients.retrieval.LookupProducts, lookup, [Stage.RANKER], "events without features"
    )
    return (answer.candidates, list(answer.missing_ids)) if answer is not None else (None, [])


def _remember(
    request: Request, parts: Parts, message: gateway_pb2.RecordEventsRequest, items: retrieval_pb2.Candidates
) -> None:
    """The session's context follows what the shopper looks at."""
    if not items.HasField("vectors") or not items.ids:
        return
    vectors = dict(zip(items.ids, vectors_from_proto(items.vectors, "items.vectors"), strict=True))
    for event in message.events:
        if event.item_id in vectors and event.type != event_pb2.EVENT_TYPE_IMPRESSION:
            version = items.vectors.model_version
            parts.memory.remember(request.call.tenant, event.session_id, version, vectors[event.item_id], event.user_id)
