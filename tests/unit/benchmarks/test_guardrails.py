"""The benchmark of the guardrails finds violations, and there are none."""

from __future__ import annotations

from decimal import Decimal

from benchmarks.guardrails import Product, hostile, violations
from services.common.money import Money
from services.pricing.domain.guardrails import Guardrails, Past, offer
from services.pricing.domain.pricing import PricedItem, PriceReason, ProposedPrice


def test_no_violation_under_a_hostile_policy() -> None:
    """Of 2,000 offers of a hostile policy none violates a guardrail, and most are held."""
    found = hostile(products=40, days=50, seed=3)
    assert (found["offers"], found["violations"]) == (2_000, 0)
    assert found["held"]["NONE"] < 100


def test_a_violation_is_found() -> None:
    """The first guardrail that an offer passes is named, if the offer was made with weaker ones."""
    item = PricedItem("a", Money("USD", Decimal(100)), cost=Money("USD", Decimal(70)))
    weak = Guardrails(Decimal(0), Decimal(1), Decimal(0))
    rails = Guardrails(Decimal("0.2"), Decimal(1), Decimal(0), Decimal("0.1"), Decimal("0.3"))
    made = offer(item, ProposedPrice(Decimal(75), PriceReason.AGED, ""), weak, Past())
    assert violations(Product(item, rails), made, [10_000], False, 0.0)[0] == "margin"
