"""Scores of the neighbours of a person's last items, read from the store of counts for every ranking."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np

from services.common.arrays import FloatArray
from services.ranker.domain.event_shares import EventShares
from services.ranker.domain.item_counts import documents as texts
from services.ranker.domain.item_counts.of_history import (
    FEWEST_OF_ITEM,
    DoubleArray,
    IntArray,
    NeighbourColumns,
    history_weights,
    items_of,
    most_of_item,
    parts_of,
    scores_of,
)
from services.ranker.domain.user_history import UserHistory
from services.ranker.ports import CountKind, CountStore

# Documents that are kept as arrays beside their text, of some 10 KiB each.
_PARSED = 1_000
# Counts of items themselves are read again after this time: one more person changes little. The number bounds memory,
# to some 15 MiB.
_FRESH_S, _MOST_ITEMS = 10.0, 100_000


class HistoryNeighbours:
    """`clock` gives seconds since the epoch."""

    def __init__(self, counts: CountStore, clock: Callable[[], float]) -> None:
        self._counts, self._clock = counts, clock
        self._neighbours = lru_cache(_PARSED)(_neighbours)
        self._items = _Items(counts, clock)

    def scores(self, tenant: str, history: UserHistory) -> dict[str, float]:
        """By item, positive, without the items of the history; empty for a person without events on items."""
        items, known = self._newest_items(), history.once(items_of)
        neighbours, _ = self._read(tenant, history, items)
        log_totals = partial(items.log_totals_of, tenant)
        columns = {own: of.columns for own, of in neighbours.items()}
        return scores_of(history.once(history_weights), columns, log_totals, known, self._clock())

    def shares(self, tenant: str, history: UserHistory, item_ids: Sequence[str]) -> EventShares:
        """What each of the person's last items adds to the scores of `item_ids`."""
        items = self._newest_items()
        neighbours, _ = self._read(tenant, history, items)
        pairs = [_pairs(items, {own: of}) for own, of in neighbours.items()]
        values = [self._scores(tenant, history, items, each, item_ids) for each in pairs]
        return EventShares(list(neighbours), np.array(values, np.float32).reshape(len(pairs), len(item_ids)).T)

    def strongest(self, tenant: str, history: UserHistory, limit: int) -> list[tuple[str, float]]:
        """(item, score), strongest first."""
        found = self.scores(tenant, history)
        return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]

    def scores_of(self, tenant: str, history: UserHistory, item_ids: Sequence[str]) -> FloatArray | None:
        """The same scores [n], 0 where there is none; None where none of the person's items has a neighbour."""
        items = self._newest_items()
        neighbours, pairs = self._read(tenant, history, items)
        return self._scores(tenant, history, items, pairs, item_ids) if neighbours else None

    def _newest_items(self) -> _Items:
        if self._items.is_full:
            self._items = _Items(self._counts, self._clock)
            self._neighbours.cache_clear()
        return self._items

    def _read(self, tenant: str, history: UserHistory, items: _Items) -> tuple[dict[str, _Neighbours], _Pairs]:
        """Once for a person's requests, until the counts are written again."""
        if not history.once(history_weights):
            return {}, _pairs(items, {})
        return history.once(self._read_of, tenant, self._counts.progress(tenant).revision, items)

    def _read_of(
        self, history: UserHistory, tenant: str, revision: int, items: _Items
    ) -> tuple[dict[str, _Neighbours], _Pairs]:
        stored = self._counts.read(tenant, CountKind.FOLLOWED, list(history.once(history_weights)))
        is_whole = most_of_item(len(stored)) > FEWEST_OF_ITEM
        neighbours = {item_id: self._neighbours(items, text, is_whole) for item_id, text in stored.items()}
        return neighbours, _pairs(items, neighbours)

    def _scores(
        self, tenant: str, history: UserHistory, items: _Items, pairs: _Pairs, item_ids: Sequence[str]
    ) -> FloatArray:
        """[n]"""
        asked, rows = np.unique(items.known(item_ids), return_inverse=True)
        at = np.minimum(np.searchsorted(asked, pairs.others), len(asked) - 1)
        among = np.flatnonzero(asked[at] == pairs.others)
        places, others, at = pairs.places[among], pairs.others[among], at[among]
        weights, totals = history.once(history_weights), items.log_totals(tenant, np.concatenate([pairs.own, others]))
        of_own, log_own = np.array([weights[name] for name in pairs.names]), totals[: len(pairs.own)]
        parts = parts_of(
            of_own[places], log_own[places], totals[len(pairs.own) :], pairs.log_masses[among], self._clock()
        )
        scores = np.bincount(at, parts, minlength=len(asked))[rows].astype(np.float32)
        known = history.once(items_of)
        scores[[item_id in known for item_id in item_ids]] = 0
        return scores


class _Neighbours(NamedTuple):
    """Of one item: its neighbours, and their numbers."""

    columns: NeighbourColumns
    numbers: IntArray


class _Pairs(NamedTuple):
    """As `of_history.Pairs`, with the numbers of the items: `own` [k], `others` [m]."""

    names: Sequence[str]
    own: IntArray
    places: IntArray
    others: IntArray
    log_masses: DoubleArray


def _neighbours(items: _Items, text: str, is_whole: bool) -> _Neighbours:
    """Of a stored document."""
    columns = texts.columns_of_text(text, is_whole)
    return _Neighbours(columns, items.of(columns.item_ids))


def _pairs(items: _Items, neighbours: dict[str, _Neighbours]) -> _Pairs:
    """The strongest of each item."""
    names, most = list(neighbours), most_of_item(len(neighbours))
    numbers = [of.numbers[:most] for of in neighbours.values()]
    masses = [of.columns.log_masses[:most] for of in neighbours.values()]
    places = np.repeat(np.arange(len(names)), [len(of) for of in numbers])
    others = np.concatenate([np.zeros(0, np.intp), *numbers])
    return _Pairs(names, items.of(names), places, others, np.concatenate([np.zeros(0), *masses]))


class _Items:
    """Items by number, from 0; and log2 of their counts, -infinity where unknown, kept for some seconds."""

    def __init__(self, counts: CountStore, clock: Callable[[], float]) -> None:
        self._counts, self._clock = counts, clock
        self._lock = threading.Lock()
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        # By tenant; NaN has not been read.
        self._totals: dict[str, DoubleArray] = {}
        self._since_s = -math.inf

    @property
    def is_full(self) -> bool:
        return len(self._names) * max(1, len(self._totals)) > _MOST_ITEMS

    def of(self, item_ids: Sequence[str]) -> IntArray:
        with self._lock:
            for item_id in item_ids:
                if item_id not in self._numbers:
                    self._numbers[item_id] = len(self._names)
                    self._names.append(item_id)
            return np.array([self._numbers[item_id] for item_id in item_ids], np.intp)

    def known(self, item_ids: Sequence[str]) -> IntArray:
        """-1 for an item without a number."""
        return np.array([self._numbers.get(item_id, -1) for item_id in item_ids], np.intp)

    def log_totals_of(self, tenant: str, item_ids: Sequence[str]) -> Sequence[float]:
        totals: list[float] = self.log_totals(tenant, self.of(item_ids)).tolist()
        return totals

    def log_totals(self, tenant: str, numbers: IntArray) -> DoubleArray:
        now_s = self._clock()
        with self._lock:
            if not 0 <= now_s - self._since_s < _FRESH_S:
                self._totals, self._since_s = {}, now_s
            totals = self._totals.get(tenant, np.zeros(0))
            if len(totals) < len(self._names):
                totals = np.concatenate([totals, np.full(2 * len(self._names) - len(totals), np.nan)])
                self._totals[tenant] = totals
        if (unread := np.isnan(totals[numbers])).any():
            missing = {self._names[number]: number for number in numbers[unread].tolist()}
            stored = self._counts.read(tenant, CountKind.FOLLOWED_TOTAL, list(missing))
            for item_id, number in missing.items():
                text = stored.get(item_id)
                totals[number] = -math.inf if text is None else texts.count_of_text(text).log_mass
        return totals[numbers]
