"""What the ranker network sees of a request: one piece of code for training and for serving.

The user's side is computed once a request; each candidate's numbers stand beside its vector. Groups of numbers have
their names here, so that whoever explains a score finds them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from services.ranker.domain.event import EventType, FloatArray, HistoryEntry
from services.ranker.domain.ranking import (
    RankingRequest,
    history_match,
    price_affinity,
    price_distance,
    query_match,
    saturated,
)
from services.ranker.domain.user_history import lasting_weights

IntArray = npt.NDArray[np.int64]

# Grows with every change of what a column means: a network trained on others is refused.
FEATURES_VERSION = 1
# The newest acts with a vector.
SEQUENCE = 50
# Where a served list is thought to be: all candidates at the same place.
SERVED_POSITION = 1
# 0 is padding.
TYPES: Mapping[EventType, int] = {
    EventType.CLICK: 1,
    EventType.DWELL: 2,
    EventType.CART: 3,
    EventType.PURCHASE: 4,
    EventType.REMOVE: 5,
}
EVENT_NUMBERS = ("age", "log_price", "price_known")
CONTEXT = ("hour_sin", "hour_cos", "is_weekend", "has_query", "has_history", "act_count")
CANDIDATE_NUMBERS = (
    "query_match", "query_cosine", "history_match", "lasting_cosine", "acted_on", "shown_without_click",
    "log_price", "price_known", "price_distance", "price_affinity", "popularity", "log_popularity",
    "log_age", "age_known", "log_stock", "out_of_stock",
)  # fmt: skip
_DAY_S = 86_400.0


@dataclass(frozen=True)
class UserFeatures:
    """Once a request. m <= SEQUENCE acts, newest first, none padded.

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


@dataclass(frozen=True)
class CandidateFeatures:
    """n candidates: `vectors` [n, d] unit or zero rows, `numbers` [n, CANDIDATE_NUMBERS]."""

    item_ids: Sequence[str]
    vectors: FloatArray
    numbers: FloatArray


def features_of(request: RankingRequest) -> tuple[UserFeatures, CandidateFeatures]:
    user = user_features(request)
    return user, candidate_features(request, user)


def user_features(request: RankingRequest) -> UserFeatures:
    dimensions = request.vectors.shape[1]
    acts = [e for e in request.user_history.recent if e.type in TYPES and _is_of(e, request.model_version, dimensions)]
    acts = acts[:SEQUENCE]
    query = np.zeros(dimensions, np.float32) if request.query is None else request.query.astype(np.float32)
    return UserFeatures(
        [act.item_id for act in acts],
        _unit(np.array([_vector(act) for act in acts], np.float32).reshape(len(acts), dimensions)),
        np.array([TYPES[act.type] for act in acts], np.int64),
        np.array([_event_numbers(act, request.now_s) for act in acts], np.float32).reshape(-1, len(EVENT_NUMBERS)),
        _long_term(request, dimensions),
        query,
        _context(request, len(acts)),
    )


def candidate_features(request: RankingRequest, user: UserFeatures) -> CandidateFeatures:
    n, acted = len(request.item_ids), set(user.item_ids)
    log_prices, priced = log_price(request.prices)
    distance, _ = price_distance(request)
    created_s = np.zeros(n) if request.created_s is None else request.created_s
    age_known = created_s > 0
    age_days = np.where(age_known, np.maximum(request.now_s - created_s, 0) / _DAY_S, 0)
    columns = {
        "query_match": query_match(request),
        "query_cosine": request.vectors @ user.query,
        "history_match": history_match(request.vectors, request.profile),
        "lasting_cosine": request.vectors @ user.long_term,
        "acted_on": np.array([item_id in acted for item_id in request.item_ids]),
        "shown_without_click": np.log1p([request.profile.seen.get(item_id, 0) for item_id in request.item_ids]),
        "log_price": log_prices,
        "price_known": priced,
        "price_distance": np.clip(distance, -4, 4),
        "price_affinity": price_affinity(request),
        "popularity": saturated(request.popularity),
        "log_popularity": np.log1p(request.popularity),
        "log_age": np.log1p(age_days),
        "age_known": age_known,
        "log_stock": np.log1p(np.clip(request.stocks, 0, 1_000)),
        "out_of_stock": request.stocks == 0,
    }
    numbers = np.stack([np.asarray(columns[name], np.float32) for name in CANDIDATE_NUMBERS], axis=1)
    return CandidateFeatures(request.item_ids, request.vectors, numbers)


def log_price(prices: FloatArray) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """(log prices [n], 0 where unknown; whether known [n])."""
    known = np.isfinite(prices) & (prices > 0)
    return np.log(np.where(known, prices, 1.0)).astype(np.float32), known


def _event_numbers(act: HistoryEntry, now_s: float) -> tuple[float, float, float]:
    price = act.price
    if math.isnan(price) and act.features is not None:
        price = act.features.price
    known = price > 0
    # Acts ahead of the clock count as now.
    return math.log1p(max(0.0, now_s - act.occurred_s)), math.log(price) if known else 0.0, float(known)


def _context(request: RankingRequest, act_count: int) -> FloatArray:
    """The shop's clock is UTC: what the hour means for its shoppers is learned."""
    moment = datetime.fromtimestamp(request.now_s, UTC)
    angle = 2 * math.pi * (moment.hour + moment.minute / 60) / 24
    return np.array(
        [
            math.sin(angle), math.cos(angle), moment.weekday() >= 5, request.query is not None, act_count > 0,
            math.log1p(act_count),
        ],
        np.float32,
    )  # fmt: skip


def _long_term(request: RankingRequest, dimensions: int) -> FloatArray:
    """The weighted mean of what was always liked, a unit vector; zero where nothing is."""
    lasting = request.user_history.lasting
    weighted = zip(lasting, lasting_weights(lasting, request.now_s), strict=True)
    # Sums of floats depend on their order, and the order of arrival must not show.
    known = [
        (_vector(entry), weight)
        for entry, weight in sorted(weighted, key=lambda pair: pair[0].event_id)
        if _is_of(entry, request.model_version, dimensions)
    ]
    if not known:
        return np.zeros(dimensions, np.float32)
    vectors, weights = (np.array(column, np.float32) for column in zip(*known, strict=True))
    taste: FloatArray = _unit((weights @ vectors)[np.newaxis])[0]
    return taste


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


def _unit(rows: FloatArray) -> FloatArray:
    unit: FloatArray = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-9))
    return unit
