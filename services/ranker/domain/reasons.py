"""The groups of what makes a score: an explanation says what each of them contributes."""

from __future__ import annotations

from enum import Enum


class ReasonType(Enum):
    QUERY_MATCH = "query_match"
    RECENT_HISTORY = "recent_history"
    PRICE_AFFINITY = "price_affinity"
    POPULARITY = "popularity"
    AVAILABILITY = "availability"
    SPONSORED = "sponsored"


GROUPS = tuple(ReasonType)
