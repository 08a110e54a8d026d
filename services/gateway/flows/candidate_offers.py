"""The effective offers in the columns of retrieval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kairos.retrieval.v1 import retrieval_pb2
from services.gateway.domain.effective_offer import EffectiveOffer, effective_offer


def offers_of(candidates: retrieval_pb2.Candidates) -> Mapping[str, EffectiveOffer]:
    """By product id. A product without a price has none."""
    return _Offers(candidates)


class _Offers(Mapping[str, EffectiveOffer]):
    """Each offer is computed when it is read: a page needs a few of the 200 candidates'."""

    def __init__(self, candidates: retrieval_pb2.Candidates) -> None:
        # A retrieval of an earlier version has no column of list prices.
        listed = candidates.list_prices or candidates.prices
        columns = (candidates.prices, listed, candidates.currencies, candidates.stocks)
        self._rows = dict(zip(candidates.ids, zip(*columns, strict=True), strict=True))

    def __getitem__(self, id: str) -> EffectiveOffer:
        if (offer := effective_offer(*self._rows[id])) is None:
            raise KeyError(id)
        return offer

    def __iter__(self) -> Iterator[str]:
        return (id for id in self._rows if id in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
