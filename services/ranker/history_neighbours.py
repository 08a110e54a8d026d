"""Scores of the neighbours of a person's last items, read from the store of counts for every ranking."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.item_counts import documents as texts
from services.ranker.domain.item_counts.of_history import history_weights, items_of, scores_of
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
        weights = history_weights(history)
        if not weights:
            return {}
        stored = self._counts.read(tenant, CountKind.FOLLOWED, list(weights))
        neighbours = {item_id: self._columns(text) for item_id, text in stored.items()}

        def log_totals(item_ids: Sequence[str]) -> Sequence[float]:
            return self._totals.of(tenant, item_ids)

        return scores_of(weights, neighbours, log_totals, items_of(history), self._clock())

    def strongest(self, tenant: str, history: UserHistory, limit: int) -> list[tuple[str, float]]:
        """(item, score), strongest first."""
        found = self.scores(tenant, history)
        return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]

    def scores_of(self, tenant: str, history: UserHistory, item_ids: Sequence[str]) -> FloatArray | None:
        """The same scores [n], 0 where there is none; None where nothing is known of the person."""
        found = self.scores(tenant, history)
        return np.array([found.get(item_id, 0.0) for item_id in item_ids], np.float32) if found else None


class _Totals:
    """log2 of the counts of items, -infinity where unknown, kept for some seconds."""

    def __init__(self, counts: CountStore, clock: Callable[[], float]) -> None:
        self._counts, self._clock = counts, clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], float] = {}
        self._since_s = -math.inf

    def of(self, tenant: str, item_ids: Sequence[str]) -> Sequence[float]:
        now_s = self._clock()
        with self._lock:
            if not 0 <= now_s - self._since_s < _FRESH_S or len(self._known) > _MOST_TOTALS:
                self._known, self._since_s = {}, now_s
            known = self._known
        missing = [item_id for item_id in dict.fromkeys(item_ids) if (tenant, item_id) not in known]
        if missing:
            stored = self._counts.read(tenant, CountKind.FOLLOWED_TOTAL, missing)
            for item_id in missing:
                text = stored.get(item_id)
                known[tenant, item_id] = -math.inf if text is None else texts.count_of_text(text).log_mass
        return [known[tenant, item_id] for item_id in item_ids]
