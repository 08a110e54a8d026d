"""Protobuf <-> domain for events and their items. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.arrays import FloatArray
from services.common.convert import money_from_proto, time_from_proto, vectors_from_proto
from services.common.errors import InvalidArgument
from services.common.events import event_violations
from services.ranker.convert import check_ids
from services.ranker.domain.event import Event, EventType, Feedback, ItemFeatures
from services.ranker.domain.refunds import UNDOING
from services.ranker.domain.session import SessionEvent, SessionMove
from services.ranker.domain.shopper.events import TYPES

MAX_EVENTS = 1_000
EVENT_TYPES = {
    event_pb2.EVENT_TYPE_CLICK: EventType.CLICK,
    event_pb2.EVENT_TYPE_CART: EventType.CART,
    event_pb2.EVENT_TYPE_PURCHASE: EventType.PURCHASE,
    event_pb2.EVENT_TYPE_REMOVE: EventType.REMOVE,
    event_pb2.EVENT_TYPE_DWELL: EventType.DWELL,
    event_pb2.EVENT_TYPE_SEARCH: EventType.SEARCH,
    event_pb2.EVENT_TYPE_IMPRESSION: EventType.IMPRESSION,
    event_pb2.EVENT_TYPE_REFUND: EventType.REFUND,
    event_pb2.EVENT_TYPE_CANCELLATION: EventType.CANCELLATION,
    event_pb2.EVENT_TYPE_FEEDBACK: EventType.FEEDBACK,
}
THUMBS = {event_pb2.THUMB_UNSPECIFIED: 0, event_pb2.THUMB_UP: 1, event_pb2.THUMB_DOWN: -1}
_MOVING_NOTHING = (EventType.IMPRESSION, EventType.REMOVE, *UNDOING)


def events_from_proto(message: ranker_pb2.RecordEventsRequest, now_s: float) -> list[Event]:
    """Raises InvalidArgument that names every wrong field; one wrong event refuses them all."""
    if not 1 <= len(message.events) <= MAX_EVENTS:
        raise InvalidArgument.of("events", f"holds {len(message.events)}; send 1 to {MAX_EVENTS}")
    wrong = [
        violation
        for index, event in enumerate(message.events)
        for violation in event_violations(event, f"events[{index}]", now_s)
    ]
    if wrong:
        raise InvalidArgument(*wrong)
    return [_event(event, now_s) for event in message.events]


def items_from_proto(items: retrieval_pb2.Candidates) -> list[ItemFeatures]:
    if not items.ids:
        return []
    check_ids(items.ids, "items.ids")
    for name in ("prices", "categories", "brands", "item_group_ids"):
        if len(getattr(items, name)) not in ((len(items.ids), 0) if name == "item_group_ids" else (len(items.ids),)):
            raise InvalidArgument.of(f"items.{name}", f"has {len(getattr(items, name))} rows for {len(items.ids)} ids")
    check_ids(items.item_group_ids, "items.item_group_ids")
    vectors = vectors_from_proto(items.vectors, "items.vectors") if items.HasField("vectors") else None
    if vectors is not None and len(vectors) != len(items.ids):
        raise InvalidArgument.of("items.vectors", f"has {len(vectors)} rows for {len(items.ids)} ids")
    return [
        ItemFeatures(
            item_id=item_id,
            vector=vectors[row] if vectors is not None and vectors[row].any() else None,
            model_version=items.vectors.model_version,
            price=items.prices[row],
            category=items.categories[row],
            brand=items.brands[row],
            group_id=items.item_group_ids[row] if items.item_group_ids else "",
        )
        for row, item_id in enumerate(items.ids)
    ]


def session_moves(
    tenant: str, events: Sequence[Event], items: Sequence[ItemFeatures], earliest_s: float, now_s: float
) -> list[SessionMove]:
    """What these events do to their sessions: one move for each session, by the vectors of the items, in order.

    Events before `earliest_s` belong to sessions that have ended. The vector is moved by neither impressions nor
    removals from the cart: a session must not move towards what the shopper does not want.
    """
    vector_of = {item.item_id: item.vector for item in items if item.vector is not None}
    of_session: dict[str, list[Event]] = {}
    for event in events:
        is_read = event.type in TYPES and bool(event.item_id or event.query)
        if event.session_id and is_read and event.occurred_s >= earliest_s:
            of_session.setdefault(event.session_id, []).append(event)
    version = next((item.model_version for item in items), "")
    return [
        SessionMove(
            tenant,
            session_id,
            own[-1].person,
            version,
            _rows([vector_of[e.item_id] for e in own if e.type not in _MOVING_NOTHING and e.item_id in vector_of]),
            now_s,
            [SessionEvent(e.item_id, e.type, e.occurred_s, e.query) for e in own],
        )
        for session_id, own in of_session.items()
    ]


def _rows(vectors: Sequence[FloatArray]) -> FloatArray:
    """[n, dimensions]; [0, 0] of none."""
    return np.stack(vectors) if vectors else np.zeros((0, 0), np.float32)


def _event(event: event_pb2.Event, now_s: float) -> Event:
    kind = EVENT_TYPES[event.type]
    return Event(
        event.event_id, event.user_id, event.session_id, event.item_id, kind,
        time_from_proto(event.occurred_at, "occurred_at").timestamp() if event.HasField("occurred_at") else now_s,
        event.attribution_token, event.query, event.quantity or (0 if kind in UNDOING else 1), event.dwell_ms,
        event.visitor_id, money_from_proto(event.price, "price") if event.HasField("price") else None, event.order_id,
        event.quote_id, _feedback(event.feedback) if event.HasField("feedback") else None,
    )  # fmt: skip


def _feedback(message: event_pb2.Feedback) -> Feedback:
    written_at = message.written_at
    return Feedback(
        THUMBS[message.thumb], message.rating, message.text, message.conversation_id, message.turn_id,
        message.is_product_review, message.moderation,
        time_from_proto(written_at, "feedback.written_at").timestamp() if message.HasField("written_at") else 0.0,
    )  # fmt: skip
