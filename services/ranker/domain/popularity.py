"""The popularity of an item: a weighted count of events on it that decays with time."""

from __future__ import annotations

import math

from services.ranker.domain.event import Event, EventType

HALF_LIFE_S = 7 * 86_400.0
# log2 of a popularity that is as good as none: what one purchase leaves after ten months.
FORGOTTEN_LOG_MASS = -40.0
_WEIGHTS = {EventType.CLICK: 1.0, EventType.CART: 3.0, EventType.PURCHASE: 6.0, EventType.DWELL: 0.5}


def log_mass(event: Event) -> float | None:
    """log2 of what the event adds, on a scale that grows with time: masses of any age add up without decaying each.

    mass * 2^((t - now) / half-life) at any later `now` gives the decayed popularity. None: it does not count.
    """
    weight = _WEIGHTS.get(event.type)
    if weight is None or not event.item_id:
        return None
    return math.log2(weight) + event.occurred_s / HALF_LIFE_S


def add(log_a: float | None, log_b: float) -> float:
    """log2(2^a + 2^b) without leaving the range of floats."""
    if log_a is None:
        return log_b
    high, low = max(log_a, log_b), min(log_a, log_b)
    return high + math.log2(1 + 2.0 ** (low - high))


def decayed(log_total: float | None, now_s: float) -> float:
    return 0.0 if log_total is None else float(2.0 ** (log_total - now_s / HALF_LIFE_S))
