"""The weights of the weighted sum."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Weights:
    """How much each part may add to a score."""

    query: float
    history: float
    price: float
    popularity: float
    availability: float
    shopper: float = 0.0
    neighbours: float = 0.0


@dataclass(frozen=True)
class ServingWeights:
    """Which weights a list gets; serving, training and judging ask the same question.

    `own` are those of the settings. `search_share`: the part of `own.shopper` and `own.neighbours` that counts in a
    search. `keeps_own`: the shop has set weights, and gets no fitted ones.
    """

    own: Weights
    search_share: float
    keeps_own: bool = False

    def of(self, is_search: bool, fitted: Weights | None) -> Weights:
        """`fitted` are those of the shopper model that serves the person, if there are any."""
        if is_search:
            share = self.search_share
            return replace(self.own, shopper=share * self.own.shopper, neighbours=share * self.own.neighbours)
        return self.own if self.keeps_own or fitted is None else fitted
