"""A collection's products in memory: their columns, and their offers by row."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from services.common.offers import Offer
from services.common.visibility import Viewing
from services.retrieval.domain.catalogue.columns import CatalogueColumns
from services.retrieval.domain.catalogue.effective import EffectiveOffers
from services.retrieval.domain.catalogue.growing import IntArray
from services.retrieval.domain.catalogue.number_map import NOWHERE
from services.retrieval.domain.catalogue.view import CatalogueView
from services.retrieval.domain.offers.book import OfferBook
from services.retrieval.domain.offers.context import OfferContext

# Within it a repeated search may have the same answer although a sale has begun.
_PERIOD_S = 5.0


class Catalogue:
    """Thread-safe. Rows of `offers` are those of `columns`."""

    def __init__(self) -> None:
        self.offers = OfferBook()
        self.columns = CatalogueColumns([_Follower(self.offers)])

    def revision(self, now_s: float) -> Hashable:
        """Another one after each change, and from time to time if there are offers: they begin and end."""
        period = int(now_s // _PERIOD_S) if len(self.offers) else 0
        return self.columns.revision, self.offers.revision, period

    def __len__(self) -> int:
        """Products."""
        return len(self.columns)

    def newer_offers(self, offers: Mapping[int, tuple[int, Offer]]) -> list[int]:
        """See OfferBook.newer, with keys of products. Offers of unknown products are left out."""
        with self.columns.writing() as view:
            rows = zip(offers, _rows(view, list(offers.values())), strict=True)
            return self.offers.newer({place: (row, offers[place][1]) for place, row in rows if row != NOWHERE})

    def update_offers(self, offers: Sequence[tuple[int, Offer]]) -> None:
        """(key of a product, offer). Stale offers, and those of unknown products, change nothing."""
        with self.columns.writing() as view:
            rows = _rows(view, offers)
            changed = [
                row
                for row, (_, offer) in zip(rows, offers, strict=True)
                if row != NOWHERE and self.offers.update(row, offer)
            ]
            self.columns.touch(list(dict.fromkeys(changed)))

    @contextmanager
    def reading(
        self, context: OfferContext, now_s: float, viewing: Viewing
    ) -> Iterator[tuple[CatalogueView, EffectiveOffers]]:
        """What `viewing` sees of the columns, and the effective offers, at `now_s` since 1970. Writes wait.

        Raises InvalidArgument for a price list or place that has no offers.
        """
        with self.columns.reading(viewing) as view:
            yield view, self.offers.view(context, now_s, view.base_offers())


def _rows(view: CatalogueView, offers: Sequence[tuple[int, Offer]]) -> list[int]:
    rows: list[int] = view.rows_of(np.fromiter((key for key, _ in offers), np.uint64, len(offers))).tolist()
    return rows


class _Follower:
    """Moves the offers of products to their new rows."""

    def __init__(self, offers: OfferBook) -> None:
        self._offers = offers

    def move(self, pairs: Sequence[tuple[int, int]]) -> None:
        self._offers.move(dict(pairs))

    def drop(self, rows: Sequence[int]) -> None:
        self._offers.drop(rows)

    def remap(self, moved: IntArray) -> None:
        self._offers.remap(moved)
