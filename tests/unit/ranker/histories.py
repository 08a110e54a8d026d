"""Histories for the tests of the ranker's domain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.ranker.domain.event import Event, EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.user_history import LASTING, PURCHASES, RECENT, UserHistory, priority

NOW_S = 1_000_000_000.0


def features(item_id: str, *direction: float, price: float = 10.0, category: str = "Shoes") -> ItemFeatures:
    vector = np.array(direction or (1.0, 0.0, 0.0), np.float32)
    return ItemFeatures(item_id, vector / np.linalg.norm(vector), "m@1", price, category, "B")


def entry(
    item: ItemFeatures, kind: EventType = EventType.CLICK, age_s: float = 0.0, event_id: str = "", dwell_ms: int = 0
) -> HistoryEntry:
    id = event_id or f"{item.item_id}/{kind.value}/{age_s}"
    return HistoryEntry(item.item_id, "", kind, NOW_S - age_s, dwell_ms, item, id, "", item.price)


def user_history(*history: HistoryEntry, shown: Sequence[tuple[str, float]] = ()) -> UserHistory:
    """The user history that a store would return for these entries."""
    newest = sorted(history, key=lambda e: (e.occurred_s, e.event_id), reverse=True)
    ranked = sorted(
        ((value, e.event_id, e) for e in history if (value := priority(_event(e))) is not None), reverse=True
    )
    return UserHistory(
        newest[:RECENT],
        [e for _, _, e in ranked[:LASTING]],
        [e for e in newest if e.type is EventType.PURCHASE][:PURCHASES],
        shown,
    )


def _event(entry: HistoryEntry) -> Event:
    return Event(entry.event_id, "u", "", entry.item_id, entry.type, entry.occurred_s, dwell_ms=entry.dwell_ms)
