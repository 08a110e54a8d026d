"""Which of a user's own acts speak most for an item, or against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.ranker.domain.event import FloatArray, HistoryEntry
from services.ranker.domain.profile import Profile
from services.ranker.domain.user_history import UserHistory, act_weight

MOST = 3


@dataclass(frozen=True)
class InfluentialEvent:
    """`entry` is the newest act on one item of the history, `similarity` that item's cosine with the explained one.

    `share` is of all that the history says, by absolute value; negative where it speaks against.
    """

    entry: HistoryEntry
    similarity: float
    share: float


def influential_events(
    vector: FloatArray, loud: FloatArray, profile: Profile, user_history: UserHistory, most: int = MOST
) -> list[InfluentialEvent]:
    """What speaks most for the item of `vector` [dimensions], or against it, first; equally loud ones by item id.

    `loud` [items of the profile] is negative for what speaks against.
    """
    whole = float(np.abs(loud).sum())
    found = []
    for row in np.argsort(-np.abs(loud), kind="stable")[:most].tolist():
        entry = _newest_act(profile.item_ids[row], loud[row] > 0, (*user_history.recent, *user_history.lasting))
        if loud[row] and entry is not None:
            found.append(InfluentialEvent(entry, float(profile.vectors[row] @ vector), float(loud[row]) / whole))
    return found


def _newest_act(item_id: str, is_for: bool, entries: Sequence[HistoryEntry]) -> HistoryEntry | None:
    """The newest that says so: of an item that was put back, the putting back where it speaks against."""
    acts = [entry for entry in entries if entry.item_id == item_id]
    saying = [entry for entry in acts if (act_weight(entry.type, entry.dwell_ms) > 0) is is_for]
    return max(saying or acts, key=lambda entry: (entry.occurred_s, entry.event_id), default=None)
