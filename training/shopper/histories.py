"""What the ranker knew of a person before an event, made of a log: the same code as in serving from there on."""

from __future__ import annotations

import heapq
import math

import numpy as np

from services.common.arrays import unit_rows
from services.ranker.domain.event import EventType, HistoryEntry, ItemFeatures
from services.ranker.domain.shopper.events import TYPES
from services.ranker.domain.user_history import LASTING, PURCHASES, RECENT, UserHistory, priority_of
from training.shopper.data import Catalogue, ShopperLog

_KINDS = {number: kind for kind, number in TYPES.items()}


class Histories:
    """`items` by row of the catalogue are made once each."""

    def __init__(self, log: ShopperLog, catalogue: Catalogue) -> None:
        self._log, self._catalogue = log, catalogue
        self._text = None if catalogue.text is None else unit_rows(catalogue.text)
        self._items: dict[int, ItemFeatures] = {}

    def before(self, event: int) -> UserHistory:
        """Of the person of this event of the log. What a query was is not kept: no feature of a history reads it."""
        log = self._log
        begin = int(log.starts[np.searchsorted(log.starts, event, side="right") - 1])
        entries = [self._entry(row) for row in range(event - 1, begin - 1, -1)]
        priorities = {
            entry.event_id: priority
            for entry in entries
            if (priority := priority_of(entry.event_id, entry.type, entry.dwell_ms, entry.occurred_s)) is not None
        }
        wanted = [entry for entry in entries if entry.event_id in priorities]
        lasting = heapq.nlargest(LASTING, wanted, key=lambda entry: priorities[entry.event_id])
        purchases = [entry for entry in entries if entry.type is EventType.PURCHASE][:PURCHASES]
        return UserHistory(entries[:RECENT], lasting, purchases)

    def _entry(self, row: int) -> HistoryEntry:
        log, item = self._log, int(self._log.items[row])
        kind = _KINDS[int(log.types[row])]
        # A log of dwelling without times: half a minute.
        dwell_ms = 30_000 if kind is EventType.DWELL else 0
        item_id = self._catalogue.ids[item] if item >= 0 else ""
        features = self._features(item) if item >= 0 else None
        return HistoryEntry(item_id, "", kind, float(log.times_s[row]), dwell_ms, features, f"{row:09}")

    def _features(self, item: int) -> ItemFeatures:
        if item not in self._items:
            of = self._catalogue
            self._items[item] = ItemFeatures(
                of.ids[item], None if self._text is None else self._text[item], of.vector_version,
                math.nan if of.prices is None else float(of.prices[item]),
                of.categories[item] if of.categories else "", of.brands[item] if of.brands else "",
            )  # fmt: skip
        return self._items[item]
