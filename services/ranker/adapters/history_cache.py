"""User histories that were read already, each with what says whether it is still the same."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from services.ranker.domain.user_history import UserHistory

# Of all tenants together; the histories that were asked for least lately leave first.
_MOST_BYTES, _MOST_HISTORIES = 32 << 20, 1_000
# Of an entry, beside its vector. Of what a person's requests compute of a vector, and of the history's neighbours.
_ENTRY_BYTES, _COPIES, _NEIGHBOURS_BYTES = 700, 4, 40_000


class Read(NamedTuple):
    """`revision` is the tenant's: it grows when item features change, and when anything is removed. `of_person` changes
    when the person's own logs grow, also by a merge, and when the key leads to another person. With both equal, nothing
    of `history` has changed. With equal `revision` and `of_events`, nothing but what was shown; a store that does not
    know has None.
    """

    revision: Hashable
    of_person: Hashable
    history: UserHistory
    of_events: Hashable = None


class HistoryCache:
    """It drops the histories of a tenant as soon as it learns of another revision: so deleted persons leave nothing."""

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        # By tenant and person, with the bytes of each.
        self._read: OrderedDict[tuple[str, str], tuple[Read, int]] = OrderedDict()
        self._revisions: dict[str, Hashable] = {}
        self.bytes = 0

    def get(self, tenant: str, person: str) -> Read | None:
        """What was read last. The caller compares it with what the store says now."""
        with self._lock:
            if (found := self._read.get((tenant, person))) is None:
                return None
            self._read.move_to_end((tenant, person))
            return found[0]

    def put(self, tenant: str, person: str, read: Read) -> None:
        """The history was read after revision and stamp, or at the same moment."""
        size = _size_of(read.history)
        with self._lock:
            if self._revisions.get(tenant) != read.revision:
                for key in [key for key in self._read if key[0] == tenant]:
                    self._drop(key)
                self._revisions[tenant] = read.revision
            self._drop((tenant, person))
            self._read[tenant, person] = read, size
            self.bytes += size
            while self.bytes > self._most_bytes or len(self._read) > _MOST_HISTORIES:
                self._drop(next(iter(self._read)))

    def clear(self) -> None:
        with self._lock:
            self._read.clear()
            self._revisions.clear()
            self.bytes = 0

    def _drop(self, key: tuple[str, str]) -> None:
        _, size = self._read.pop(key, (None, 0))
        self.bytes -= size


def _size_of(history: UserHistory) -> int:
    """In bytes, roughly."""
    entries = (*history.recent, *history.lasting, *history.purchases)
    vectors = {
        entry.item_id: entry.features.vector.nbytes
        for entry in entries
        if entry.features is not None and entry.features.vector is not None
    }
    of_entries = _ENTRY_BYTES * (len(entries) + len(history.shown))
    return _NEIGHBOURS_BYTES + of_entries + _COPIES * sum(vectors.values())
