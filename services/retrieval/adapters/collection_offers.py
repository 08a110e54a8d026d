"""The offers of one collection in memory, by point id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.common.offers import Offer
from services.retrieval.domain.offers.book import OfferBook


class CollectionOffers:
    """`book`: by row; a point has the row that `row_of` gives as long as it exists. One write at a time."""

    def __init__(self) -> None:
        self.book = OfferBook()
        # Whether all offers of the collection are here. A server's are read when the first of them changes.
        self.is_read = False
        self._rows: dict[int, int] = {}
        self._free: list[int] = []

    def row_of(self, id: int) -> int:
        """A point that has none gets one."""
        row = self._rows.get(id)
        if row is None:
            row = self._rows[id] = self._free.pop() if self._free else len(self._rows)
        return row

    def of(self, id: int) -> list[Offer]:
        """Removed ones too."""
        row = self._rows.get(id)
        return [] if row is None else self.book.offers_of(row)

    def newer(self, offers: Mapping[int, tuple[int, Offer]]) -> list[int]:
        """See OfferBook.newer, with point ids."""
        return self.book.newer({place: (self.row_of(id), offer) for place, (id, offer) in offers.items()})

    def update(self, offers: Sequence[tuple[int, Offer]]) -> None:
        """By point id."""
        for id, offer in offers:
            self.book.update(self.row_of(id), offer)

    def replace(self, offers: Mapping[int, Iterable[Offer]]) -> None:
        """By point id: these are all offers of the point."""
        self.book.drop([self._rows[id] for id in offers if id in self._rows])
        for id, entries in offers.items():
            row = self.row_of(id)
            for offer in entries:
                self.book.update(row, offer)

    def remove(self, ids: Sequence[int]) -> None:
        """The points are gone."""
        rows = [row for id in ids if (row := self._rows.pop(id, None)) is not None]
        self.book.drop(rows)
        self._free.extend(rows)
