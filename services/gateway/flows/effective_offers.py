"""The effective offers of candidates."""

from __future__ import annotations

import math
from itertools import repeat

from kairos.retrieval.v1 import retrieval_pb2
from services.gateway.domain.effective_offer import EffectiveOffer, effective_offer


def offers_of(candidates: retrieval_pb2.Candidates) -> dict[str, EffectiveOffer]:
    """The effective offers by product id, from the columns of prices and stock."""
    # A retrieval of an earlier version has no column of list prices.
    listed = candidates.list_prices or repeat(math.nan)
    columns = zip(candidates.prices, listed, candidates.currencies, candidates.stocks, strict=False)
    offers = zip(candidates.ids, (effective_offer(*row) for row in columns), strict=True)
    return {id: offer for id, offer in offers if offer is not None}
