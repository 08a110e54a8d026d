"""Scores of the neighbours of a person's last items, read from the store of counts for every ranking."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.event_shares import EventShares
from services.ranker.domain.item_counts import documents as texts
from services.ranker.domain.item_counts.of_history import (
    FEWEST_OF_ITEM,
    NeighbourColumns,
    history_weights,
    items_of,
    most_of_item,
    scores_of,
)
from services.ranker.domain.user_history import UserHistory
from services.ranker.ports import CountKind, CountStore

# Documents that are kept as arrays beside their text, of some 10 KiB each.
_PARSED = 1_000
# Counts of items themselves are read again after this time: one more person changes little. The number bounds memory,
# to some 15 MiB.
_FRESH_S, _MOST_TOTALS = 10.0, 100_000


class HistoryNeighbours:
    """`clock` gives seconds since the epoch."""

    def __init__(self, counts: CountStore, clock: Callable[[], float]) -> None:
        self._counts, self._clock = counts, clock
        self._columns = lru_cache(_PARSED)(texts.columns_of_text)
        self._totals = _Totals(counts, clock)

    def scores(self, tenant: str, history: UserHistory) -> dict[str, float]:
        """By item, positive, without the items of the history; empty for a person without events on items."""
        weights = history.once(history_weights)
        return self._scores(tenant, history, weights, self._read(tenant, weights))

    def shares(self, tenant: str, history: UserHistory, item_ids: Sequence[str]) -> EventShares:
        """What each of the person's last items adds to the scores of `item_ids`."""
        weights = history.once(history_weights)
        neighbours = self._read(tenant, weights)
        found = [self._scores(tenant, history, weights, {own: of}, set(item_ids)) for own, of in neighbours.items()]
        values = [[of.get(item_id, 0.0) for of in found] for item_id in item_ids]
        return EventShares(list(neighbours), np.array(values, np.float32).reshape(len(item_ids), len(neighbours)))

    def strongest(self, tenant: str, history: UserHistory, limit: int) -> list[tuple[str, float]]:
        """(item, score), strongest first."""
        found = self.scores(tenant, history)
        return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]

    def scores_of(self, tenant: str, history: UserHistory, item_ids: Sequence[str]) -> FloatArray | None:
        """The same scores [n], 0 where there is none; None where none of the person's items has a neighbour."""
        weights = history.once(history_weights)
        if not (neighbours := self._read(tenant, weights)):
            return None
        found = self._scores(tenant, history, weights, neighbours, set(item_ids))
        return np.array([found.get(item_id, 0.0) for item_id in item_ids], np.float32)

    def _read(self, tenant: str, weights: Mapping[str, float]) -> dict[str, NeighbourColumns]:
        if not weights:
            return {}
        stored = self._counts.read(tenant, CountKind.FOLLOWED, list(weights))
        is_whole = most_of_item(len(stored)) > FEWEST_OF_ITEM
        return {item_id: self._columns(text, is_whole) for item_id, text in stored.items()}

    def _scores(
        self,
        tenant: str,
        history: UserHistory,
        weights: Mapping[str, float],
        neighbours: Mapping[str, NeighbourColumns],
        among: Collection[str] | None = None,
    ) -> dict[str, float]:
        known, log_totals = history.once(items_of), partial(self._totals.of, tenant)
        return scores_of(weights, neighbours, log_totals, known, self._clock(), among)


class _Totals:
    """log2 of the counts of items, -infinity where unknown, kept for some seconds."""

    def __init__(self, counts: CountStore, clock: Callable[[], float]) -> None:
        self._counts, self._clock = counts, clock
        self._lock = threading.Lock()
        # By tenant and item.
        self._known: dict[str, dict[str, float]] = {}
        self._since_s = -math.inf

    def of(self, tenant: str, item_ids: Sequence[str]) -> Sequence[float]:
        now_s = self._clock()
        with self._lock:
            if not 0 <= now_s - self._since_s < _FRESH_S or sum(map(len, self._known.values())) > _MOST_TOTALS:
                self._known, self._since_s = {}, now_s
            known = self._known.setdefault(tenant, {})
        if missing := list(set(item_ids).difference(known)):
            stored = self._counts.read(tenant, CountKind.FOLLOWED_TOTAL, missing)
            for item_id in missing:
                text = stored.get(item_id)
                known[item_id] = -math.inf if text is None else texts.count_of_text(text).log_mass
        return [known[item_id] for item_id in item_ids]
