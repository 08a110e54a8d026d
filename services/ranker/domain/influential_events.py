"""The events of a user's history that influence an item's score most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.event import HistoryEntry
from services.ranker.domain.profile import Profile
from services.ranker.domain.user_history import UserHistory, event_weight

MOST = 3


@dataclass(frozen=True)
class InfluentialEvent:
    """`entry` is the newest event on one item of the history, `similarity` that item's cosine with the explained one.

    `share` is of the influence of all items of the history, by absolute value; negative if it lowers the score.
    """

    entry: HistoryEntry
    similarity: float
    share: float


def influential_events(
    vector: FloatArray, influences: FloatArray, profile: Profile, user_history: UserHistory, most: int = MOST
) -> list[InfluentialEvent]:
    """The events that raise or lower the score of the item with `vector` [dimensions] most, strongest first.

    `influences` [items of the profile] are negative for items that lower it. Equal ones are ordered by item id.
    """
    whole = float(np.abs(influences).sum())
    found = []
    for row in np.argsort(-np.abs(influences), kind="stable")[:most].tolist():
        influence = float(influences[row])
        entry = _newest_event(profile.item_ids[row], influence > 0, (*user_history.recent, *user_history.lasting))
        if influence and entry is not None:
            found.append(InfluentialEvent(entry, float(profile.vectors[row] @ vector), influence / whole))
    return found


def _newest_event(item_id: str, raises: bool, entries: Sequence[HistoryEntry]) -> HistoryEntry | None:
    """The newest event on the item that acts in this direction: for an item that was removed again, the removal."""
    events = [entry for entry in entries if entry.item_id == item_id]
    fitting = [entry for entry in events if (event_weight(entry.type, entry.dwell_ms) > 0) is raises]
    return max(fitting or events, key=lambda entry: (entry.occurred_s, entry.event_id), default=None)
