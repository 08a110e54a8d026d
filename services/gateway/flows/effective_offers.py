"""The effective offers of candidates."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from kairos.retrieval.v1 import retrieval_pb2
from services.gateway.domain.effective_offer import EffectiveOffer, effective_offer


def offers_of(candidates: retrieval_pb2.Candidates, *, list_price_only: bool = False) -> Mapping[str, EffectiveOffer]:
    """The effective offers by product id, from the columns of prices and stock. `list_price_only`: those that apply
    without computed prices.
    """
    return _Offers(candidates, list_price_only)


class _Offers(Mapping[str, EffectiveOffer]):
    """Each offer is computed when it is read: of 200 candidates a page shows ten."""

    def __init__(self, candidates: retrieval_pb2.Candidates, list_price_only: bool) -> None:
        self._candidates, self._list_price_only = candidates, list_price_only
        self._rows = {id: row for row, id in enumerate(candidates.ids)}

    def __getitem__(self, id: str) -> EffectiveOffer:
        offer = self._offer(self._rows[id])
        if offer is None:
            raise KeyError(id)
        return offer

    def __iter__(self) -> Iterator[str]:
        return (id for id, row in self._rows.items() if self._offer(row) is not None)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _offer(self, row: int) -> EffectiveOffer | None:
        columns = self._candidates
        # A retrieval of an earlier version lacks columns.
        listed = columns.list_prices[row] if columns.list_prices else math.nan
        lowest = columns.lowest_prices_30_days[row] if columns.lowest_prices_30_days else math.nan
        guardrail = columns.price_guardrails[row] if columns.price_guardrails else 0
        price = columns.prices[row]
        if guardrail and self._list_price_only:
            # A price is computed from the shop's price without a sale.
            price, lowest, guardrail = listed, math.nan, 0
        return effective_offer(price, listed, columns.currencies[row], columns.stocks[row], lowest, guardrail)
