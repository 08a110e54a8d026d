"""The features of the requesting user or visitor, computed once for a request, the same for training and serving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.comparable_items import comparable_items
from services.ranker.domain.event import EventType, HistoryEntry
from services.ranker.domain.ranking_request import RankingRequest
from services.ranker.domain.user_history import UserHistory, lasting_weights

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
    known = request.user_history.once(_sequence, request.model_version, dimensions)
    query = np.zeros(dimensions, np.float32) if request.query is None else request.query.astype(np.float32)
    numbers = known.numbers.astype(np.float32)
    # Events ahead of the clock count as now.
    numbers[:, 0] = np.log1p(np.maximum(request.now_s - known.numbers[:, 0], 0))
    return UserFeatures(
        known.item_ids,
        known.vectors,
        known.types,
        numbers,
        _long_term(request, dimensions),
        query,
        _context(request, len(numbers)),
    )


class _Sequence(NamedTuple):
    """As UserFeatures; `numbers` have the time in seconds in place of the age."""

    item_ids: Sequence[str]
    vectors: FloatArray
    types: IntArray
    numbers: npt.NDArray[np.float64]


def _sequence(history: UserHistory, model_version: str, dimensions: int) -> _Sequence:
    known = history.once(comparable_items, model_version, dimensions)
    events = [entry for entry in history.recent if entry.type in TYPES and entry.item_id in known.rows][:SEQUENCE]
    return _Sequence(
        [entry.item_id for entry in events],
        known.vectors[[known.rows[entry.item_id] for entry in events]],
        np.array([TYPES[entry.type] for entry in events], np.int64),
        np.array([_event_numbers(entry) for entry in events]).reshape(-1, len(EVENT_NUMBERS)),
    )


def _event_numbers(entry: HistoryEntry) -> tuple[float, float, float]:
    price = entry.price
    if math.isnan(price) and entry.features is not None:
        price = entry.features.price
    known = price > 0
    return entry.occurred_s, math.log(price) if known else 0.0, float(known)


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
    known = history.once(comparable_items, request.model_version, dimensions)
    estimates = history.once(lasting_weights, request.now_s)[known.places]
    return unit_rows(known.sums(known.lasting, estimates).astype(np.float32) @ known.raw)
