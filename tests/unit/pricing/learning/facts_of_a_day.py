"""Facts for tests: what was shown and done on one product, at seconds after a start."""

from __future__ import annotations

from services.pricing.learning.facts import Act, Impression, Interaction, Paid, ShownOffer

# Midnight in UTC.
START_S = 1_800_057_600.0
DAY_S, HOUR_S = 86_400.0, 3_600.0
DAY = int(START_S // DAY_S)


def offer(cents: int, list_id: str = "", list_cents: int = 1_000, currency: str = "USD") -> ShownOffer:
    return ShownOffer(list_id, currency, cents, list_cents)


def shown(
    page: int, at_s: float, cents: int | None = 1_000, person: int = 1, product: str = "a", **fields: object
) -> Impression:
    made = {"visitor": None, "position": 1, "offer": None if cents is None else offer(cents)} | fields
    return Impression(page, product, person, shown_s=START_S + at_s, **made)  # type: ignore[arg-type]


def did(
    key: int, at_s: float, act: Act = Act.PURCHASE, person: int = 1, product: str = "a", **fields: object
) -> Interaction:
    made = {"visitor": None} | fields
    return Interaction(key, act, product, person, occurred_s=START_S + at_s, **made)  # type: ignore[arg-type]


def usd(cents: int) -> Paid:
    return Paid("USD", cents)
