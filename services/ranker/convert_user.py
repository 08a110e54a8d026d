"""Protobuf <-> domain for the data of one user or visitor: profile and export."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.ranker.v1 import profile_pb2
from services.common.convert import money_to_proto, time_to_proto, vectors_to_proto
from services.common.errors import InvalidArgument
from services.ranker.convert_events import EVENT_TYPES, THUMBS
from services.ranker.domain.event import Event, HistoryEntry
from services.ranker.domain.interests import Interests
from services.ranker.domain.profile import Profile, purchased
from services.ranker.domain.repurchase import days_of
from services.ranker.domain.user_history import UserHistory
from services.ranker.times import moment

# Of a serialised profile with vectors of up to 768 dimensions, if every text is as long as it may be.
MAX_PROFILE_BYTES = 2 << 20
DEFAULT_PAGE = 500
MAX_PAGE = 1_000
# An export's page ends with the record that reaches this size: a gRPC message holds 4 MiB by default.
PAGE_BYTES = 2 << 20
LOGS = ("events", "impressions", "rankings", "conversations")
_TYPES = {kind: number for number, kind in EVENT_TYPES.items()}
_THUMBS = {value: number for number, value in THUMBS.items()}


def profile_to_proto(
    user_id: str,
    visitor_id: str,
    user_history: UserHistory,
    profile: Profile,
    interests: Interests,
    recently_purchased: Sequence[str],
    model_version: str,
) -> profile_pb2.UserProfile:
    last = {entry.item_id: entry.occurred_s for entry in reversed(user_history.purchases)}
    days = days_of(user_history.purchases)
    message = profile_pb2.UserProfile(
        user_id=user_id,
        visitor_id=visitor_id,
        recent=map(history_event, user_history.recent),
        lasting=map(history_event, user_history.lasting),
        interests=[
            profile_pb2.Interest(share=share, item_ids=item_ids)
            for share, item_ids in zip(interests.shares.tolist(), interests.item_ids, strict=True)
        ],
        price_affinities=[
            profile_pb2.PriceAffinity(category=category, typical_price=math.exp(taste.mean), log_spread=taste.spread)
            for category, taste in profile.prices.items()
        ],
        purchases=[
            profile_pb2.Purchase(
                item_id=item_id, purchased_at=_time(last[item_id]), day_count=len(days[item_id]),
                recommendable=item_id not in recently_purchased,
            )
            for item_id in purchased(user_history.purchases)
        ],
        shown_item_ids=[item_id for item_id, _ in user_history.shown],
    )  # fmt: skip
    for name, entries in (("recent_vectors", user_history.recent), ("lasting_vectors", user_history.lasting)):
        if (vectors := _vectors(entries, model_version)) is not None:
            getattr(message, name).CopyFrom(vectors)
    if len(interests):
        message.interest_vectors.CopyFrom(vectors_to_proto(interests.vectors.astype(np.float16), model_version))
    return message


def history_event(entry: HistoryEntry) -> profile_pb2.HistoryEvent:
    message = profile_pb2.HistoryEvent(
        event_id=entry.event_id, item_id=entry.item_id, type=_TYPES[entry.type], session_id=entry.session_id,
        occurred_at=_time(entry.occurred_s), query=entry.query, dwell_ms=entry.dwell_ms,
        category=entry.features.category if entry.features else "",
    )  # fmt: skip
    if not math.isnan(entry.price):
        message.price = entry.price
    return message


def event_to_proto(event: Event) -> event_pb2.Event:
    message = event_pb2.Event(
        event_id=event.event_id, user_id=event.user_id, session_id=event.session_id, item_id=event.item_id,
        type=_TYPES[event.type], occurred_at=_time(event.occurred_s), attribution_token=event.attribution_token,
        query=event.query, quantity=event.quantity, dwell_ms=event.dwell_ms, visitor_id=event.visitor_id,
        order_id=event.order_id, quote_id=event.quote_id,
    )  # fmt: skip
    if event.price is not None:
        message.price.CopyFrom(money_to_proto(event.price))
    if (said := event.feedback) is not None:
        message.feedback.CopyFrom(
            event_pb2.Feedback(
                thumb=_THUMBS[said.thumb], rating=said.rating, text=said.text, conversation_id=said.conversation_id,
                turn_id=said.turn_id, is_product_review=said.is_product_review,
                moderation=product_pb2.ModerationOutcome.ValueType(said.moderation),
                written_at=_time(said.written_s) if said.written_s else None,
            )
        )  # fmt: skip
    return message


def page_size(asked: int) -> int:
    if asked < 0:
        raise InvalidArgument.of("page_size", f"{asked} is negative; send 1 to {MAX_PAGE}")
    return min(asked or DEFAULT_PAGE, MAX_PAGE)


def page_token(log: str, position: int) -> str:
    """Where an export continues: in which log, beyond which position."""
    return f"{log}:{position}"


def page_from_token(token: str) -> tuple[str, int]:
    """(log, position); the beginning for an empty token. Raises InvalidArgument for a damaged one."""
    log, _, position = (token or "events:0").partition(":")
    if log not in LOGS or not position.isdecimal() or len(position) > 18:
        raise InvalidArgument.of("page_token", "is damaged; send next_page_token as it came")
    return log, int(position)


def _vectors(entries: Sequence[HistoryEntry], model_version: str) -> common_pb2.Vectors | None:
    rows: Mapping[int, np.ndarray] = {
        row: entry.features.vector
        for row, entry in enumerate(entries)
        if entry.features is not None
        and entry.features.vector is not None
        and entry.features.model_version == model_version
    }
    if not rows:
        return None
    vectors = np.zeros((len(entries), len(next(iter(rows.values())))), np.float16)
    for row, vector in rows.items():
        vectors[row] = vector
    return vectors_to_proto(vectors, model_version)


def _time(seconds: float) -> Timestamp:
    return time_to_proto(moment(seconds))
