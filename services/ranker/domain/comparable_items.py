"""The items of a history that have a vector of one model, and the events on them as arrays: made once for a history.

What a request computes of them depends on its time only, and takes a few operations on arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray, unit_rows
from services.ranker.domain.event import HistoryEntry, ItemFeatures
from services.ranker.domain.user_history import EVENT_WEIGHTS, DoubleArray, UserHistory, event_weight

IntArray = npt.NDArray[np.intp]


class ItemEvents(NamedTuple):
    """m events: the rows of their items [m], their weights without decay [m], and their times in seconds [m]."""

    rows: IntArray
    weights: DoubleArray
    occurred_s: DoubleArray

    @classmethod
    def of(cls, events: Iterable[tuple[int, float, float]]) -> ItemEvents:
        rows, weights, occurred_s = zip(*events, strict=True) if (events := list(events)) else ((), (), ())
        return cls(np.array(rows, np.intp), np.array(weights, np.float64), np.array(occurred_s, np.float64))


class ItemPrices(NamedTuple):
    """Of p items: their rows [p], places of their categories in `names` [p], and logarithms of their prices [p]."""

    rows: IntArray
    categories: IntArray
    log_prices: DoubleArray
    names: Sequence[str]


@dataclass(frozen=True)
class ComparableItems:
    """n items by id. `raw` [n, dimensions] are their vectors as they are stored, `vectors` the same as unit rows.

    `recent` are the recent events with a weight, newest first, and `removals` those of a negative weight, by event id.
    `lasting` [k] are the rows of the lasting events on these items, `places` [k] their places in `UserHistory.lasting`,
    both by event id: a sum of floats depends on its order, and must not on that of arrival. `prices` are those of the
    time, of an item the last one.
    """

    items: Mapping[str, ItemFeatures]
    rows: Mapping[str, int]
    raw: FloatArray
    vectors: FloatArray
    recent: ItemEvents
    removals: ItemEvents
    lasting: IntArray
    places: IntArray
    prices: ItemPrices

    def sums(self, rows: IntArray, values: DoubleArray) -> DoubleArray:
        """[n]: of the values [m] at `rows` [m]."""
        # Without values NumPy gives whole numbers.
        return np.bincount(rows, values, minlength=len(self.items)).astype(np.float64, copy=False)


def comparable_items(history: UserHistory, model_version: str, dimensions: int) -> ComparableItems:
    """For `UserHistory.once`."""
    known = {
        entry.item_id: features
        for entry in (*history.recent, *history.lasting)
        if (features := entry.features) is not None
        and features.vector is not None
        and features.model_version == model_version
        and len(features.vector) == dimensions
    }
    items = {item_id: known[item_id] for item_id in sorted(known)}
    rows = {item_id: row for row, item_id in enumerate(items)}
    raw = np.array([item.vector for item in items.values()], np.float32).reshape(len(items), dimensions)
    newest = sorted(history.recent, key=lambda e: (e.occurred_s, e.event_id), reverse=True)
    recent = [
        (rows[entry.item_id], weight, entry.occurred_s)
        for entry in newest
        if entry.item_id in rows and (weight := event_weight(entry.type, entry.dwell_ms))
    ]
    # Removals from the cart have a negative weight: no sample holds them, and they count as long as they are recent.
    removals = [
        (rows[entry.item_id], weight, entry.occurred_s)
        for entry in sorted(history.recent, key=lambda e: e.event_id)
        if entry.item_id in rows and (weight := EVENT_WEIGHTS[entry.type]) < 0
    ]
    lasting = sorted(
        (entry.event_id, place, rows[entry.item_id])
        for place, entry in enumerate(history.lasting)
        if entry.item_id in rows
    )
    return ComparableItems(
        items,
        rows,
        raw,
        unit_rows(raw),
        ItemEvents.of(recent),
        ItemEvents.of(removals),
        np.array([row for *_, row in lasting], np.intp),
        np.array([place for _, place, _ in lasting], np.intp),
        _prices((*history.lasting, *history.recent), rows),
    )


def _prices(entries: Iterable[HistoryEntry], rows: Mapping[str, int]) -> ItemPrices:
    priced: dict[str, tuple[str, float]] = {}
    for entry in sorted(entries, key=lambda e: (e.occurred_s, e.event_id)):
        if (features := entry.features) is None or entry.item_id not in rows:
            continue
        price = features.price if math.isnan(entry.price) else entry.price
        if price > 0:
            priced[entry.item_id] = features.category, math.log(price)
    names = {category: place for place, category in enumerate(dict.fromkeys(of for of, _ in priced.values()))}
    return ItemPrices(
        np.array([rows[item_id] for item_id in sorted(priced)], np.intp),
        np.array([names[priced[item_id][0]] for item_id in sorted(priced)], np.intp),
        np.array([priced[item_id][1] for item_id in sorted(priced)], np.float64),
        list(names),
    )
