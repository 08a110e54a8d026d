"""The events that the shopper model reads: the last 50, with type, age and the words of a query."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.common.arrays import FloatArray
from services.ranker.domain.event import EventType, HistoryEntry

IntArray = npt.NDArray[np.int64]

SEQUENCE = 50
# 0 is padding.
TYPES: Mapping[EventType, int] = {
    EventType.CLICK: 1,
    EventType.DWELL: 2,
    EventType.CART: 3,
    EventType.PURCHASE: 4,
    EventType.REMOVE: 5,
    EventType.SEARCH: 6,
}
# Words of a query that are read, and the rows of their embeddings; row 0 is no word.
WORDS, BUCKETS = 8, 8_192
_DAY_S = 86_400.0
# Letters and digits, or a single character of a script that does not separate words.
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")


@dataclass(frozen=True)
class ShopperEvents:
    """m <= SEQUENCE events, oldest first.

    `item_ids` [m] are "" for a query; `types` [m]; `occurred_s` [m] are in seconds since the epoch; `words` [m, WORDS]
    are the buckets of a query's words, 0 where there is none.
    """

    item_ids: Sequence[str]
    types: IntArray
    occurred_s: npt.NDArray[np.float64]
    words: IntArray

    def __len__(self) -> int:
        return len(self.item_ids)

    def ages(self, now_s: float) -> FloatArray:
        """[m]: log(1 + days before now). Events ahead of the clock count as now."""
        return np.log1p(np.maximum(now_s - self.occurred_s, 0) / _DAY_S).astype(np.float32)


def read_entries(recent: Sequence[HistoryEntry]) -> list[HistoryEntry]:
    """Of a history, newest first, the entries that the model reads, oldest first."""
    read = [entry for entry in recent if entry.type in TYPES and (entry.item_id or entry.query)]
    return read[:SEQUENCE][::-1]


def shopper_events(entries: Sequence[HistoryEntry]) -> ShopperEvents:
    """Of `read_entries`."""
    return ShopperEvents(
        [entry.item_id if entry.type is not EventType.SEARCH else "" for entry in entries],
        np.array([TYPES[entry.type] for entry in entries], np.int64),
        np.array([entry.occurred_s for entry in entries], np.float64),
        np.array([query_words(entry.query) for entry in entries], np.int64).reshape(len(entries), WORDS),
    )


def query_words(query: str) -> list[int]:
    """[WORDS] buckets of the first words of a query, the same in every process; 0 where there is none."""
    if not query:
        # Most events have none.
        return [0] * WORDS
    found = [zlib.crc32(word.encode()) % (BUCKETS - 1) + 1 for word in _WORD.findall(query.casefold())[:WORDS]]
    return found + [0] * (WORDS - len(found))
