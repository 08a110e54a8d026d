"""How often one person sees a campaign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cachetools import LRUCache


@dataclass
class _Count:
    begins_s: float
    shown: int = 0


class FrequencyCap:
    """At most `most` impressions of a campaign for one person within `window_s` seconds from the first of them.

    It remembers `capacity` pairs of person and campaign, the latest ones. Without a person there is no cap.
    """

    def __init__(self, most: int, window_s: float, capacity: int, clock: Callable[[], float]) -> None:
        self._most, self._window_s, self._clock = most, window_s, clock
        self._counts: LRUCache[tuple[str, str], _Count] = LRUCache(capacity)

    def allows(self, person_id: str, campaign_id: str) -> bool:
        count = self._counts.get((person_id, campaign_id)) if person_id else None
        return count is None or count.shown < self._most or self._clock() >= count.begins_s + self._window_s

    def add(self, person_id: str, campaign_id: str) -> None:
        """One impression."""
        if not person_id:
            return
        key, now_s = (person_id, campaign_id), self._clock()
        count = self._counts.get(key)
        if count is None or now_s >= count.begins_s + self._window_s:
            count = self._counts[key] = _Count(now_s)
        count.shown += 1
