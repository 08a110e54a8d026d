"""The products of a server's collection in memory. Other replicas write to the collection as well: what they wrote is
looked for once a second, by the time that each point carries.

Removed points leave no trace: if the numbers of products differ, the ids of all points are compared.
"""

from __future__ import annotations

import time

from services.retrieval.adapters.points import AtLeast, Where
from services.retrieval.adapters.records import CHANGED_AT
from services.retrieval.adapters.server_collection import ServerCollection
from services.retrieval.domain.catalogue.catalogue import Catalogue

# The clocks of two replicas may differ by so much; what was written within it is read again and again.
_OVERLAP_MS = 10_000


class ServerCatalogue:
    """`collection`: the one whose products it has."""

    def __init__(self, collection: ServerCollection) -> None:
        self.catalogue = Catalogue()
        # By key: when the product was written, of those within the overlap.
        self._seen: dict[int, int] = {}
        self._last_ms = 0
        self._read(collection, Where())

    def follow(self, collection: ServerCollection) -> None:
        """Reads what other replicas have written since."""
        self._read(collection, Where((AtLeast(CHANGED_AT, self._last_ms - _OVERLAP_MS),)))
        if collection.count(Where()) != len(self.catalogue):
            present = collection.ids()
            with self.catalogue.columns.reading() as view:
                known = view.keys[view.alive].tolist()
            self.catalogue.columns.remove([key for key in known if key not in present])

    def _read(self, collection: ServerCollection, where: Where) -> None:
        """Points that were written before points had times are read at the beginning only."""
        newest_ms = self._last_ms
        for batch in collection.changed(where):
            new = [found for found in batch if self._seen.get(found.entry.key) != found.changed_ms]
            self.catalogue.columns.replace([found.entry for found in new])
            self._seen.update((found.entry.key, found.changed_ms) for found in batch)
            newest_ms = max([newest_ms, *(found.changed_ms for found in batch)])
        # A clock that is ahead must not hide what the others write.
        self._last_ms = min(newest_ms, int(time.time() * 1e3))
        self._seen = {key: ms for key, ms in self._seen.items() if ms >= self._last_ms - _OVERLAP_MS}
