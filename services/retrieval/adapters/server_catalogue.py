"""The products of a server's collection in memory. Other replicas write to the collection as well: what they wrote is
looked for once a second, by the times that each point carries.

Removed points leave no trace: if the numbers of products differ, the ids of all points are compared.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from services.retrieval.adapters.offer_payload import OFFERS_AT
from services.retrieval.adapters.points import AtLeast, Where
from services.retrieval.adapters.records import CHANGED_AT
from services.retrieval.adapters.server_collection import ServerCollection
from services.retrieval.domain.catalogue.catalogue import Catalogue

# The clocks of two replicas may differ by so much; what was written within it is read again and again.
_OVERLAP_MS = 10_000
_EVERYTHING = Where()


class ServerCatalogue:
    """`collection`: the one whose products it has."""

    def __init__(self, collection: ServerCollection) -> None:
        self.catalogue = Catalogue()
        self._products, self._offers = _Progress(CHANGED_AT), _Progress(OFFERS_AT)
        self._read_products(collection, _EVERYTHING)
        self._read_offers(collection, _EVERYTHING)
        self.catalogue.columns.sort_lookups()

    def follow(self, collection: ServerCollection) -> None:
        """Reads what other replicas have written since."""
        self._read_products(collection, self._products.since)
        self._read_offers(collection, self._offers.since)
        if collection.count(_EVERYTHING) != len(self.catalogue):
            present = collection.ids()
            with self.catalogue.columns.reading() as view:
                known = view.keys[view.alive].tolist()
            self.catalogue.columns.remove([key for key in known if key not in present])

    def _read_products(self, collection: ServerCollection, where: Where) -> None:
        for batch in collection.changed(where):
            new = self._products.new({found.entry.key: found.changed_ms for found in batch})
            self.catalogue.columns.replace([found.entry for found in batch if found.entry.key in new])
        self._products.ended()

    def _read_offers(self, collection: ServerCollection, where: Where) -> None:
        for batch in collection.changed_offers(where):
            new = self._offers.new({found.key: found.changed_ms for found in batch})
            changed = [found for found in batch if found.key in new]
            self.catalogue.update_offers([(found.key, offer) for found in changed for offer in found.offers])
        self._offers.ended()


@dataclass
class _Progress:
    """What was read of the points by the time in one field of their payload, in milliseconds since 1970."""

    key: str
    # By key of a product, of those within the overlap.
    _seen: dict[int, int] = field(default_factory=dict)
    _last_ms: int = 0

    @property
    def since(self) -> Where:
        return Where((AtLeast(self.key, self._last_ms - _OVERLAP_MS),))

    def new(self, times: dict[int, int]) -> set[int]:
        """The keys that were not read with this time before. From now on they were."""
        new = {key for key, changed_ms in times.items() if self._seen.get(key) != changed_ms}
        self._seen |= times
        return new

    def ended(self) -> None:
        """All points of one look were read."""
        # A clock that is ahead must not hide what the others write.
        self._last_ms = min(max(self._seen.values(), default=0), int(time.time() * 1e3))
        self._seen = {key: ms for key, ms in self._seen.items() if ms >= self._last_ms - _OVERLAP_MS}
