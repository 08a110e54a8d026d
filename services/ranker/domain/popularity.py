"""The popularity of an item: the weights of the persons who acted on it, each decayed with time.

A person counts once for an item, with the event that weighs most now: 300 clicks of one person are one click. What each
person adds is kept for the items that the person acted on last, until retention removes the event from the log.
"""

from __future__ import annotations

import math

from services.ranker.domain.event import Event, EventType

HALF_LIFE_S = 7 * 86_400.0
# log2 of a popularity that is as good as none: what one purchase leaves after ten months.
FORGOTTEN_LOG_MASS = -40.0
# Items of one person whose shares are kept, those that weigh most now. A person counts again on an item beyond them.
SHARES = 100
_WEIGHTS = {EventType.CLICK: 1.0, EventType.CART: 3.0, EventType.PURCHASE: 6.0, EventType.DWELL: 0.5}


def log_mass(event: Event) -> float | None:
    """See `log_mass_of`."""
    return log_mass_of(event.type, event.item_id, event.occurred_s)


def log_mass_of(type: EventType, item_id: str, occurred_s: float) -> float | None:
    """log2 of an event's weight, on a scale that grows with time: masses of any age compare without decaying each.

    mass * 2^((t - now) / half-life) at any later `now` gives the decayed weight. None: it does not count.
    """
    weight = _WEIGHTS.get(type)
    if weight is None or not item_id:
        return None
    return math.log2(weight) + occurred_s / HALF_LIFE_S


def grown(log_total: float | None, log_share: float | None, log_new: float) -> float:
    """log2(2^total - 2^share + 2^new) without leaving the range of floats: the total after a person's share has grown.

    `log_share` is None for a person without a share; otherwise `log_new` is greater.
    """
    if log_total is None:
        return log_new
    most = max(log_total, log_new)
    others = 2.0 ** (log_total - most) - (0.0 if log_share is None else 2.0 ** (log_share - most))
    return most + math.log2(max(others, 0.0) + 2.0 ** (log_new - most))


def decayed(log_total: float | None, now_s: float) -> float:
    return 0.0 if log_total is None else float(2.0 ** (log_total - now_s / HALF_LIFE_S))
