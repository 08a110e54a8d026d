"""RecordEvents: the ranker stores the events durably before the call returns; the gateway adds the items' features."""

from __future__ import annotations

import time
from collections.abc import Iterable

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.errors import FieldViolation, InvalidArgument
from services.common.events import event_violations
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
    await check_events(message.events, parts.token_keys.of(calls.info.tenant), time.time())
    for event in message.events:
        if not event.HasField("occurred_at"):
            event.occurred_at.GetCurrentTime()
    item_ids = sorted({event.item_id for event in message.events if event.item_id})
    items, missing = await _features(calls, parts, item_ids)
    record = ranker_pb2.RecordEventsRequest(events=message.events, items=items)
    answer = await calls.call(
        Stage.RANKER, parts.stubs.ranker.RecordEvents, record,
        # An empty message, as an ingress may send while a replica restarts, acknowledges nothing.
        is_valid=lambda counts: counts.recorded_count + counts.duplicate_count == len(message.events),
    )  # fmt: skip
    await _count(calls, parts, message.events)
    return gateway_pb2.RecordEventsResponse(
        recorded_count=answer.recorded_count,
        duplicate_count=answer.duplicate_count,
        missing_ids=missing,
        degradations=calls.degradations,
        request_id=calls.info.request_id,
    )


async def check_events(events: Iterable[event_pb2.Event], token_keys: tuple[str, ...], now_s: float) -> None:
    """Raises InvalidArgument that names every wrong field. `now_s`: seconds since the epoch."""
    batch = list(events)
    if not 1 <= len(batch) <= MAX_EVENTS:
        raise InvalidArgument.of("events", f"holds {len(batch)}; send 1 to {MAX_EVENTS}")
    wrong = list[FieldViolation]()
    async for index, event in in_steps(enumerate(batch)):
        path = f"events[{index}]"
        wrong += event_violations(event, path, now_s)
        if event.attribution_token and AttributionToken.decode(event.attribution_token, *token_keys) is None:
            problem = "is damaged or of another shop; send the token of the answer unchanged, or none"
            wrong.append(FieldViolation(f"{path}.attribution_token", problem))
    if wrong:
        raise InvalidArgument(*wrong)


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
