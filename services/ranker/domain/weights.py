"""The weights of the weighted sum."""

from __future__ import annotations

from dataclasses import dataclass


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
