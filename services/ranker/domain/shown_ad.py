"""A sponsored place of a page that was shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ShownAd:
    """`price`: of a click, in minor units of `currency`. `expected_clicks`: 0 to 1."""

    item_id: str
    campaign_id: str
    price: int
    currency: str
    expected_clicks: float
