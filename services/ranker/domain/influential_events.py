"""The events of a user's history that influence an item's score most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.common.arrays import FloatArray
from services.ranker.domain.event import HistoryEntry
from services.ranker.domain.event_shares import Basis, Influence
from services.ranker.domain.profile import Profile
from services.ranker.domain.user_history import UserHistory, event_weight

MOST = 3


@dataclass(frozen=True)
class InfluentialEvent:
    """`entry` is the newest event on one item of the history, `similarity` that item's cosine with the explained one.

    `share` is of the influence of all items of the history, by absolute value; negative if it lowers the score. `basis`
    is the part of the score that it moves most.
    """

    entry: HistoryEntry
    similarity: float
    share: float
    basis: Basis


def influential_events(
    vector: FloatArray,
    influences: Mapping[str, Influence],
    profile: Profile,
    user_history: UserHistory,
    most: int = MOST,
) -> list[InfluentialEvent]:
    """The events that raise or lower the score of the item with `vector` [dimensions] most, strongest first.

    `influences` are by item of the history. Equal ones are ordered by item id.
    """
    whole = sum(abs(influence.value) for influence in influences.values())
    similar = dict(zip(profile.item_ids, (profile.vectors @ vector).tolist(), strict=True))
    found = []
    for item_id in sorted(influences, key=lambda item_id: (-abs(influences[item_id].value), item_id))[:most]:
        influence = influences[item_id]
        entry = _newest_event(item_id, influence.value > 0, (*user_history.recent, *user_history.lasting))
        if influence.value and entry is not None:
            share = influence.value / whole
            found.append(InfluentialEvent(entry, similar.get(item_id, 0.0), share, influence.basis))
    return found


def _newest_event(item_id: str, raises: bool, entries: Sequence[HistoryEntry]) -> HistoryEntry | None:
    """The newest event on the item that acts in this direction: for an item that was removed again, the removal."""
    events = [entry for entry in entries if entry.item_id == item_id]
    fitting = [entry for entry in events if (event_weight(entry.type, entry.dwell_ms) > 0) is raises]
    return max(fitting or events, key=lambda entry: (entry.occurred_s, entry.event_id), default=None)
