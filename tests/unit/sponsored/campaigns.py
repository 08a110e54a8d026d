"""Campaigns and facts for tests."""

from __future__ import annotations

from typing import Any

from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.facts import Click, Fact, Facts, Impression

# 2026-01-05, a Monday, 00:00 UTC.
MONDAY_S = 1_767_571_200.0


def campaign(id: str = "c", **fields: Any) -> Campaign:
    """Of product "p", for 40 cents a click and 20 euros a day."""
    usual: dict[str, Any] = {
        "advertiser": f"advertiser of {id}", "payer": "Payer", "product_ids": ("p",), "currency": "EUR", "bid": 40,
        "daily_budget": 2_000,
    }  # fmt: skip
    return Campaign(id, **{**usual, **fields})


def facts_of(*facts: Fact) -> Facts:
    made = Facts()
    made.add(facts)
    return made


def impression(number: int, campaign_id: str = "c", **fields: Any) -> Impression:
    """The ad of product "p" in its own ranking, at 30 cents, one second after the one with the number before."""
    usual: dict[str, Any] = {
        "item_id": "p", "price": 30, "expected_clicks": 0.05, "person_id": f"person-{number}",
        "shown_s": MONDAY_S + number, "currency": "EUR",
    }  # fmt: skip
    return Impression(f"ranking-{number}", campaign_id=campaign_id, **{**usual, **fields})


def click_on(shown: Impression, event_id: str = "", after_s: float = 10.0, person_id: str = "") -> Click:
    return Click(
        event_id or f"click on {shown.ranking_id}", shown.ranking_id, shown.item_id, person_id or shown.person_id,
        shown.shown_s + after_s,
    )  # fmt: skip
