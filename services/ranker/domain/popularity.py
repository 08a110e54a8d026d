"""The popularity of an item: the weights of the persons who acted on it, each decayed with time.

A person counts once for an item, with the event that weighs most now: 300 clicks of one person are one click. What each
person adds is kept for the items that the person acted on last, until retention removes the event from the log. The
items of a group count as one. A purchase that is undone counts no longer: the person counts with what is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from services.ranker.domain.event import Event, EventType

HALF_LIFE_S = 7 * 86_400.0
# log2 of a popularity that is as good as none: what one purchase leaves after ten months.
FORGOTTEN_LOG_MASS = -40.0
# Items of one person whose shares are kept, those that weigh most now. A person counts again on an item beyond them.
SHARES = 100
WEIGHTS = {EventType.CLICK: 1.0, EventType.CART: 3.0, EventType.PURCHASE: 6.0, EventType.DWELL: 0.5}


def log_mass(event: Event) -> float | None:
    """See `log_mass_of`."""
    return log_mass_of(event.type, event.item_id, event.occurred_s)


def log_mass_of(type: EventType, item_id: str, occurred_s: float) -> float | None:
    """log2 of an event's weight, on a scale that grows with time: masses of any age compare without decaying each.

    mass * 2^((t - now) / half-life) at any later `now` gives the decayed weight. None: it does not count.
    """
    weight = WEIGHTS.get(type)
    if weight is None or not item_id:
        return None
    return math.log2(weight) + occurred_s / HALF_LIFE_S


def popularity_key(item_id: str, group_id: str) -> str:
    """The key under which an item's popularity is kept: that of its group, or its own without a group."""
    return group_id or item_id


def moved(log_total: float | None, log_share: float | None, log_new: float | None) -> float | None:
    """log2(2^total - 2^share + 2^new) without leaving the range of floats: the total after a person's share has moved.

    None for any of them, and for the result: nothing.
    """
    known = [log for log in (log_total, log_new) if log is not None]
    if not known:
        return None
    most = max(known)
    others = _scaled(log_total, most) - _scaled(log_share, most)
    left = max(others, 0.0) + _scaled(log_new, most)
    # The difference of two equal sums is rarely exactly 0.
    return most + math.log2(left) if left > 1e-9 else None


def decayed(log_totals: Sequence[float | None], now_s: float) -> list[float]:
    """One for each; 0 for None."""
    known = np.array([-math.inf if log_total is None else log_total for log_total in log_totals])
    totals: list[float] = np.exp2(known - now_s / HALF_LIFE_S).tolist()
    return totals


def _scaled(log: float | None, most: float) -> float:
    return 0.0 if log is None else float(2.0 ** (log - most))
