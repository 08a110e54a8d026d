"""What the ranker needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from services.ranker.domain.event import Event, HistoryEntry, Impressions, ItemFeatures

# Events of a user that a profile is made of: about 1.2 kB each, so at most some 120 kB are read for a user.
HISTORY = 100


class ProfileStore(Protocol):
    """Events, items and impressions of each tenant. Writes are durable when they return, and whole or not at all."""

    def record(self, tenant: str, events: Sequence[Event], items: Sequence[ItemFeatures]) -> int:
        """How many of the events are new: an event id counts once. Items are stored, the latest features win."""

    def record_impressions(self, tenant: str, impressions: Sequence[Impressions]) -> int:
        """How many are new, by ranking id and first position."""

    def history(self, tenant: str, user_id: str, limit: int = HISTORY) -> list[HistoryEntry]:
        """The newest events, by time and then by event id, newest first."""

    def popularity(self, tenant: str, item_ids: Sequence[str], now_s: float) -> list[float]:
        """Weighted acts on each item, with a half-life of a week; 0 where there are none."""

    def popular(self, tenant: str, category: str, limit: int, now_s: float) -> list[tuple[str, float]]:
        """(item id, popularity), most popular first; ties by id. `category` empty: the whole shop."""

    def close(self) -> None: ...
