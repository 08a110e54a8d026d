"""Which events a user history holds: bounded sets, each the largest of one order over all events.

Such a set does not depend on the order in which events arrive, nor on how often one arrives, and neither does what is
computed from it. Long-term taste is kept as a sample by forward decay (Cormode et al., ICDE 2009) with priority
sampling (Duffield, Lund and Thorup, JACM 2007): an event's priority is fixed when it happens, and no stored value has
to be decayed later.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from services.common.refunds import undone
from services.ranker.domain.event import Event, EventType, HistoryEntry

DoubleArray = npt.NDArray[np.float64]
_Made = TypeVar("_Made")

# The newest events of every type but IMPRESSION, REFUND and CANCELLATION.
RECENT = 100
# A sample of all events with a positive weight. The one of lowest priority serves as the threshold only.
LASTING = 64
# The newest purchases, and the newest items that were shown.
PURCHASES = 100
SHOWN = 100
# Long-term taste fades within months.
LASTING_HALF_LIFE_S = 45 * 86_400.0
# The weight of an event, relative to a click.
EVENT_WEIGHTS = {
    EventType.CLICK: 1.0,
    EventType.DWELL: 0.5,
    EventType.CART: 2.0,
    EventType.PURCHASE: 3.0,
    EventType.REMOVE: -1.5,
    EventType.SEARCH: 0.0,
    EventType.IMPRESSION: 0.0,
    EventType.REFUND: 0.0,
    EventType.CANCELLATION: 0.0,
    EventType.FEEDBACK: 0.0,
}
# Beyond this time, longer dwelling has no more weight.
FULL_DWELL_MS = 60_000


@dataclass(frozen=True)
class UserHistory:
    """The history of one user or visitor.

    `recent` and `purchases` are newest first, equal times by event id, descending. `lasting` is of descending priority.
    `shown` are (item id, seconds since the epoch) of the items that were shown, newest first. `least_priority` is the
    lowest priority of a full sample from which undone purchases are left out; -infinity for any other.
    """

    recent: Sequence[HistoryEntry] = ()
    lasting: Sequence[HistoryEntry] = ()
    purchases: Sequence[HistoryEntry] = ()
    shown: Sequence[tuple[str, float]] = field(default=())
    least_priority: float = -math.inf
    # By function: of what `once` has made something, and what.
    _made: dict[Callable[..., object], tuple[Hashable, object]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    @classmethod
    def of(
        cls,
        recent: Sequence[HistoryEntry],
        lasting: Sequence[HistoryEntry],
        purchases: Sequence[HistoryEntry],
        refunds: Sequence[HistoryEntry],
        shown: Sequence[tuple[str, float]],
    ) -> UserHistory:
        """Of the bounded sets that a store keeps, `refunds` the newest of them: without the undone purchases."""
        gone = undone(purchases, refunds) if refunds else frozenset[str]()
        if not gone:
            return cls(recent, lasting, purchases, shown)
        recent, left, purchases = (
            [entry for entry in entries if entry.event_id not in gone] for entries in (recent, lasting, purchases)
        )
        is_full = len(lasting) >= LASTING
        return cls(recent, left, purchases, shown, min(map(_of_entry, lasting)) if is_full else -math.inf)

    def once(self, make: Callable[..., _Made], *of: Hashable) -> _Made:
        """`make(self, *of)`. It is kept until it is made of something else: what is made must not be changed.

        A person's requests share a history (adapters/history_cache.py), and what is made of it.
        """
        made_of, made = self._made.get(make, (None, None))
        if made_of != of:
            made = make(self, *of)
            self._made[make] = of, made
        return cast(_Made, made)

    @property
    def entries(self) -> dict[str, HistoryEntry]:
        """All entries by event id."""
        return {entry.event_id: entry for entry in (*self.recent, *self.lasting, *self.purchases)}

    def showing(self, shown: Sequence[tuple[str, float]]) -> UserHistory:
        """With the same entries, and what was made of them: what `once` makes of `shown` names it."""
        history = replace(self, shown=shown)
        history._made.update(self._made)
        return history

    def without(self, item_id: str) -> UserHistory:
        """As if there were no recent event on this item; the sample of all events stays as it is."""
        return replace(self, recent=[entry for entry in self.recent if entry.item_id != item_id])


def event_weight(kind: EventType, dwell_ms: int) -> float:
    """The weight of an event for its item, without decay."""
    dwelt = min(1.0, dwell_ms / FULL_DWELL_MS) if kind is EventType.DWELL else 1.0
    return EVENT_WEIGHTS[kind] * dwelt


def priority(event: Event) -> float | None:
    """log2 of (weight grown with its time / a uniform number of the event id's). None: the weight is not positive."""
    return priority_of(event.event_id, event.type, event.dwell_ms, event.occurred_s)


def priority_of(event_id: str, kind: EventType, dwell_ms: int, occurred_s: float) -> float | None:
    weight = event_weight(kind, dwell_ms)
    if weight <= 0:
        return None
    digest = hashlib.blake2b(event_id.encode(), digest_size=8).digest()
    uniform = (int.from_bytes(digest, "little") + 1) / 2**64
    return math.log2(weight) + occurred_s / LASTING_HALF_LIFE_S - math.log2(uniform)


def lasting_weights(history: UserHistory, now_s: float) -> DoubleArray:
    """[lasting]: unbiased estimates that add up to the decayed weight of all events there ever were.

    Of a sample that is not full they are the exact weights.
    """
    of, least = history.once(_lasting_events), history.least_priority
    weights: DoubleArray = of.weights * np.exp2((of.occurred_s - now_s) / LASTING_HALF_LIFE_S)
    if len(weights) >= LASTING:
        least = float(of.priorities.min())
    threshold = 2.0 ** (least - now_s / LASTING_HALF_LIFE_S)
    if threshold > 0:
        weights = np.where(of.priorities == least, 0.0, np.maximum(weights, threshold))
    return weights


class _LastingEvents(NamedTuple):
    """Of the lasting events [k]: weights without decay, times in seconds since the epoch, and priorities of a sample.

    Where `lasting` are all events, nobody asks for the priorities: they are 0.
    """

    weights: DoubleArray
    occurred_s: DoubleArray
    priorities: DoubleArray


def _lasting_events(history: UserHistory) -> _LastingEvents:
    lasting = history.lasting
    is_sample = len(lasting) >= LASTING or history.least_priority > -math.inf
    return _LastingEvents(
        np.array([event_weight(entry.type, entry.dwell_ms) for entry in lasting], np.float64),
        np.array([entry.occurred_s for entry in lasting], np.float64),
        np.array([_of_entry(entry) if is_sample else 0.0 for entry in lasting], np.float64),
    )


def _of_entry(entry: HistoryEntry) -> float:
    found = priority_of(entry.event_id, entry.type, entry.dwell_ms, entry.occurred_s)
    return -math.inf if found is None else found
