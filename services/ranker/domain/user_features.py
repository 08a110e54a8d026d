"""The features of the requesting user or visitor, computed once for a request, the same for training and serving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.event import EventType, HistoryEntry
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.user_history import lasting_weights

IntArray = npt.NDArray[np.int64]

# The newest events on items with a vector.
SEQUENCE = 50
# 0 is padding.
TYPES: Mapping[EventType, int] = {
    EventType.CLICK: 1,
    EventType.DWELL: 2,
    EventType.CART: 3,
    EventType.PURCHASE: 4,
    EventType.REMOVE: 5,
}
EVENT_NUMBERS = ("age", "log_price", "price_known")
CONTEXT = ("hour_sin", "hour_cos", "is_weekend", "has_query", "has_history", "event_count")


@dataclass(frozen=True)
class UserFeatures:
    """m <= SEQUENCE events, newest first, without padding.

    `vectors` [m, d] unit rows, `types` [m], `numbers` [m, EVENT_NUMBERS], `long_term` and `query` [d], zero where there
    is none, `context` [CONTEXT].
    """

    item_ids: Sequence[str]
    vectors: FloatArray
    types: IntArray
    numbers: FloatArray
    long_term: FloatArray
    query: FloatArray
    context: FloatArray


def user_features(request: RankingRequest) -> UserFeatures:
    dimensions = request.vectors.shape[1]
    events = [
        entry
        for entry in request.user_history.recent
        if entry.type in TYPES and _is_of(entry, request.model_version, dimensions)
    ][:SEQUENCE]
    query = np.zeros(dimensions, np.float32) if request.query is None else request.query.astype(np.float32)
    return UserFeatures(
        [entry.item_id for entry in events],
        unit_rows(np.array([_vector(entry) for entry in events], np.float32).reshape(len(events), dimensions)),
        np.array([TYPES[entry.type] for entry in events], np.int64),
        np.array([_event_numbers(e, request.now_s) for e in events], np.float32).reshape(-1, len(EVENT_NUMBERS)),
        _long_term(request, dimensions),
        query,
        _context(request, len(events)),
    )


def _event_numbers(entry: HistoryEntry, now_s: float) -> tuple[float, float, float]:
    price = entry.price
    if math.isnan(price) and entry.features is not None:
        price = entry.features.price
    known = price > 0
    # Events ahead of the clock count as now.
    return math.log1p(max(0.0, now_s - entry.occurred_s)), math.log(price) if known else 0.0, float(known)


def _context(request: RankingRequest, event_count: int) -> FloatArray:
    """The hour and the day are those of UTC: what they mean for the shop's customers is learned."""
    moment = datetime.fromtimestamp(request.now_s, UTC)
    angle = 2 * math.pi * (moment.hour + moment.minute / 60) / 24
    return np.array(
        [
            math.sin(angle), math.cos(angle), moment.weekday() >= 5, request.query is not None, event_count > 0,
            math.log1p(event_count),
        ],
        np.float32,
    )  # fmt: skip


def _long_term(request: RankingRequest, dimensions: int) -> FloatArray:
    """The weighted mean of the lasting events' items, a unit vector; zero without any."""
    history = request.user_history
    estimates = lasting_weights(history.lasting, request.now_s, history.least_priority)
    weighted = zip(history.lasting, estimates, strict=True)
    # A sum of floats depends on its order; the result must not depend on the order in which events arrived.
    known = [
        (_vector(entry), weight)
        for entry, weight in sorted(weighted, key=lambda pair: pair[0].event_id)
        if _is_of(entry, request.model_version, dimensions)
    ]
    if not known:
        return np.zeros(dimensions, np.float32)
    vectors, weights = (np.array(column, np.float32) for column in zip(*known, strict=True))
    return unit_rows(weights @ vectors)


def _is_of(entry: HistoryEntry, model_version: str, dimensions: int) -> bool:
    known = entry.features
    return (
        known is not None
        and known.vector is not None
        and known.model_version == model_version
        and len(known.vector) == dimensions
    )


def _vector(entry: HistoryEntry) -> FloatArray:
    if entry.features is None or entry.features.vector is None:
        raise ValueError(f"{entry.item_id} has no vector; ask _is_of first")
    return entry.features.vector
