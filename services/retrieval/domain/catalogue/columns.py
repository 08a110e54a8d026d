"""The columns of a catalogue in memory, beside the engine: filters, exact counts, groups and identifiers.

Rows are appended. A product that is written again gets a new row, and its old one is dead; when a quarter of the rows
is dead, the columns are compacted. Whoever keeps data by row follows the rows (`RowFollower`).

Searches and writes come from several threads. A search holds `reading` while it computes, a few milliseconds at most;
a write holds it for a chunk of products. What takes longer, sorting and compaction, is computed beside and swapped in.

The methods of CatalogueColumns and CatalogueView are what other modules use; the rest of the folder may change.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import numpy.typing as npt

from services.common.visibility import SEES_ALL, Viewing
from services.retrieval.domain.catalogue.growing import IntArray
from services.retrieval.domain.catalogue.table import Entry, Table
from services.retrieval.domain.catalogue.view import CatalogueView

# Products that are appended while searches wait: about 5 ms.
_CHUNK = 64
# Compaction copies everything, so a small catalogue may keep its dead rows.
_DEAD_MIN = 1_000
_DEAD_SHARE = 0.25


class RowFollower(Protocol):
    """Keeps data by row. It is called while the searches of the columns wait."""

    def move(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Rows that have a new number: (old row, new row)."""

    def drop(self, rows: Sequence[int]) -> None:
        """Rows whose products were removed."""

    def remap(self, moved: IntArray) -> None:
        """By row its new number, -1 for a dead one."""


class CatalogueColumns:
    """Thread-safe. `followers` hear of every row that moves."""

    def __init__(self, followers: Sequence[RowFollower] = ()) -> None:
        self._followers = tuple(followers)
        self._table = Table()
        self._revision = 0
        # Writers take both in this order, searches the second one only. Whoever holds one may take it again.
        self._writing, self._reading = threading.RLock(), threading.RLock()

    @property
    def revision(self) -> int:
        """A number that grows with each write, when it has ended."""
        return self._revision

    def __len__(self) -> int:
        """Living products."""
        return self._table.alive_count

    @contextmanager
    def reading(self, viewing: Viewing = SEES_ALL) -> Iterator[CatalogueView]:
        """The columns as they are now. The view and its arrays hold until the end of the block."""
        with self._reading:
            yield CatalogueView.of(self._table, viewing)

    @contextmanager
    def writing(self) -> Iterator[CatalogueView]:
        """As `reading`, without other writers: for a change of data by row. Not from within `reading`."""
        with self._writing, self._reading:
            yield CatalogueView.of(self._table)

    def replace(self, entries: Sequence[Entry]) -> None:
        """Adds products, or replaces those with the same keys. Of entries with one key the last one counts.

        Readers may see a part of the batch before the rest.
        """
        last = list({entry.key: entry for entry in entries}.values())
        with self._writing:
            for start in range(0, len(last), _CHUNK):
                with self._reading:
                    pairs = self._table.add(last[start : start + _CHUNK])
                    for follower in self._followers if pairs else ():
                        follower.move(pairs)
                self._tidy()

    def remove(self, keys: Sequence[int]) -> None:
        """Unknown keys are ignored."""
        with self._writing:
            with self._reading:
                rows = self._table.remove(list(dict.fromkeys(keys)))
                for follower in self._followers if rows else ():
                    follower.drop(rows)
            self._tidy()

    def touch(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> None:
        """Notes that these rows changed elsewhere, for example their offers: `changed_after` lists them again.

        Row numbers hold within `writing` only, so call it there.
        """
        with self._writing, self._reading:
            self._table.touch(np.asarray(rows, np.intp))

    def sort_lookups(self) -> None:
        """After a whole collection was read: a search then looks through no recent changes."""
        with self._writing:
            tidied = self._table.tidied(only_due=False)
            with self._reading:
                self._table = tidied

    def _tidy(self) -> None:
        table = self._table
        if table.dead_count > max(_DEAD_MIN, _DEAD_SHARE * len(table)):
            compacted, moved = table.compacted()
            with self._reading:
                self._table = compacted
                for follower in self._followers:
                    follower.remap(moved)
        elif (tidied := table.tidied()) is not table:
            with self._reading:
                self._table = tidied
        self._revision += 1
