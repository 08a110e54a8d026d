"""A user's profile: a pure function of the stored events, so that late and doubled ones change nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.ranker.domain.event import EventType, FloatArray, HistoryEntry

# How much an act says, against a click.
EVENT_WEIGHTS = {
    EventType.CLICK: 1.0,
    EventType.DWELL: 0.5,
    EventType.CART: 2.0,
    EventType.PURCHASE: 3.0,
    EventType.REMOVE: -1.5,
    EventType.SEARCH: 0.0,
}
# Dwelling this long says all that dwelling can.
FULL_DWELL_MS = 60_000
# The wish of the moment fades within the hour, what one has always liked within months.
NOW_HALF_LIFE_S = 30 * 60.0
LONG_HALF_LIFE_S = 45 * 86_400.0
# Share of a fresh event's weight that fades quickly.
NOW_SHARE = 0.8


@dataclass(frozen=True)
class Profile:
    """Rows of `vectors` [n, dimensions] are unit vectors of the items acted on, `weights` [n] how much each says.

    Log prices are those of the items, with the same weights.
    """

    item_ids: tuple[str, ...]
    vectors: FloatArray
    weights: FloatArray
    log_price_mean: float | None
    log_price_spread: float
    purchased_item_ids: tuple[str, ...]

    @property
    def size(self) -> int:
        return len(self.item_ids)


def build_profile(history: Sequence[HistoryEntry], model_version: str, dimensions: int, now_s: float) -> Profile:
    """From the newest events of a user, in any order. Items without a vector of `model_version` say nothing."""
    weight_of: dict[str, float] = {}
    known = {}
    for entry in history:
        features = entry.features
        if features is None or features.vector is None or features.model_version != model_version:
            continue
        if len(features.vector) != dimensions:
            continue
        known[entry.item_id] = features
        weight_of[entry.item_id] = weight_of.get(entry.item_id, 0.0) + event_weight(entry, now_s)
    # Sums of floats depend on their order, and the order of equal events must not show.
    item_ids = sorted(item_id for item_id, weight in weight_of.items() if abs(weight) > 1e-6)
    vectors = np.zeros((len(item_ids), dimensions), dtype=np.float32)
    for row, item_id in enumerate(item_ids):
        vectors[row] = known[item_id].vector
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    weights = np.array([weight_of[item_id] for item_id in item_ids], dtype=np.float32)
    mean, spread = _log_prices([(known[i].price, weight_of[i]) for i in item_ids])
    return Profile(tuple(item_ids), vectors, weights, mean, spread, purchased(history))


def event_weight(entry: HistoryEntry, now_s: float) -> float:
    """Type times time: a sum of a quick and a slow exponential decay. Events ahead of the clock count as now."""
    age_s = max(0.0, now_s - entry.occurred_s)
    fading: float = NOW_SHARE * 0.5 ** (age_s / NOW_HALF_LIFE_S) + (1 - NOW_SHARE) * 0.5 ** (age_s / LONG_HALF_LIFE_S)
    dwelt = min(1.0, entry.dwell_ms / FULL_DWELL_MS) if entry.type is EventType.DWELL else 1.0
    return EVENT_WEIGHTS[entry.type] * dwelt * fading


def purchased(history: Sequence[HistoryEntry]) -> tuple[str, ...]:
    """Most recent first, each once."""
    bought = sorted(
        (entry for entry in history if entry.type is EventType.PURCHASE), key=lambda e: (-e.occurred_s, e.item_id)
    )
    return tuple(dict.fromkeys(entry.item_id for entry in bought))


def interests(profile: Profile, most: int = 4, similar: float = 0.45) -> tuple[FloatArray, FloatArray]:
    """(unit vectors [k, dimensions], weights [k] that add up to 1), strongest first: leader clustering by cosine.

    The strongest item founds an interest; each next one joins the first that it resembles, or founds its own.
    """
    order = [row for row in np.lexsort((np.arange(profile.size), -profile.weights)) if profile.weights[row] > 0]
    sums: list[FloatArray] = []
    weights: list[float] = []
    for row in order:
        vector, weight = profile.vectors[row], float(profile.weights[row])
        near = [float(total @ vector / max(np.linalg.norm(total), 1e-9)) for total in sums]
        if near and (max(near) >= similar or len(sums) == most):
            place = int(np.argmax(near))
            sums[place] = sums[place] + weight * vector
            weights[place] += weight
        else:
            sums.append(weight * vector)
            weights.append(weight)
    if not sums:
        return np.zeros((0, profile.vectors.shape[1]), np.float32), np.zeros(0, np.float32)
    ranked = np.argsort(-np.array(weights), kind="stable")
    vectors = np.stack(sums)[ranked]
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    shares = np.array(weights, np.float32)[ranked]
    return vectors.astype(np.float32), shares / shares.sum()


def _log_prices(priced: Sequence[tuple[float, float]]) -> tuple[float | None, float]:
    """Weighted mean and spread of log prices, of what is liked."""
    liked = [(math.log(price), weight) for price, weight in priced if price > 0 and weight > 0]
    if not liked:
        return None, 1.0
    total = sum(weight for _, weight in liked)
    mean = sum(weight * log for log, weight in liked) / total
    variance = sum(weight * (log - mean) ** 2 for log, weight in liked) / total
    # Few events do not make a narrow taste.
    return mean, max(0.5, math.sqrt(variance))
