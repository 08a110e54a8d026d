"""Offers are within their guardrails for any proposed price."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.money import MINOR_UNIT_DECIMALS, Money, in_minor_units, minor_unit
from services.pricing.domain.guardrails import NO_PAST, Guardrail, Guardrails, Past, offer, quoted
from services.pricing.domain.pricing import (
    MarkdownRules,
    PricedItem,
    PriceReason,
    ProposedPrice,
)

RAILS = Guardrails(Decimal("0.05"), Decimal("0.30"), Decimal(0))
TENTH_OFF = Decimal("0.9")
RULES = MarkdownRules(150, Decimal("0.10"), 540, Decimal("0.15"))
amounts = st.decimals(min_value=0, max_value=100_000, places=2)
currencies = st.sampled_from(["USD", "JPY", "KWD"])


def usd(amount: str) -> Money:
    return Money("USD", Decimal(amount))


@given(amounts, amounts, st.none() | amounts, st.none() | amounts, st.none() | amounts, currencies)
def test_floor_offer_ceiling(
    price: Decimal, proposed: Decimal, cost: Decimal | None, low: Decimal | None, high: Decimal | None, currency: str
) -> None:
    """floor <= offer <= ceiling holds always, even if the bounds contradict each other."""
    bounds = [None if value is None else Money(currency, value) for value in (cost, low, high)]
    item = PricedItem("a", Money(currency, price), cost=bounds[0], price_floor=bounds[1], price_ceiling=bounds[2])
    made = offer(item, ProposedPrice(proposed, PriceReason.LIST_PRICE, ""), RAILS)
    assert made.floor.amount <= made.amount.amount <= made.ceiling.amount


@given(amounts, amounts, currencies)
def test_never_below_cost(cost: Decimal, proposed: Decimal, currency: str) -> None:
    """No offer is below cost plus margin, in the minor unit of the currency, unless the list price is."""
    item = PricedItem("a", Money(currency, Decimal(10)), Money(currency, cost))
    made = offer(item, ProposedPrice(proposed, PriceReason.LIST_PRICE, ""), RAILS)
    assert made.amount.amount >= min(cost * Decimal("1.05"), Decimal(10))


def test_a_guardrail_is_explained() -> None:
    """An offer that a guardrail changed has the reason GUARDRAIL and names the bound."""
    made = offer(PricedItem("a", usd("100")), ProposedPrice(Decimal(10), PriceReason.OVERSTOCK, "x"), RAILS)
    assert made.reason is PriceReason.GUARDRAIL
    assert made.amount == usd("70.00")
    assert made.explanation == "x A guardrail raised the offer to USD 70.00: the largest discount."


def test_overstock_is_marked_down() -> None:
    """A stock above the bound of the rule gives the markdown of the rule."""
    proposed = RULES(PricedItem("a", usd("100"), stock=200), now_s=0)
    assert (proposed.amount, proposed.reason) == (Decimal("90.00"), PriceReason.OVERSTOCK)


def test_the_larger_markdown_applies() -> None:
    """An item that is overstocked and aged gets the larger of both markdowns, not their sum."""
    proposed = RULES(PricedItem("a", usd("100"), stock=200, created_s=1.0), now_s=1.0 + 600 * 86_400)
    assert (proposed.amount, proposed.reason) == (Decimal("85.00"), PriceReason.AGED)


def test_an_ordinary_item_keeps_its_price() -> None:
    """If no rule applies, the list price applies."""
    assert RULES(PricedItem("a", usd("100"), stock=3), now_s=0).reason is PriceReason.LIST_PRICE


@given(st.sampled_from(sorted(MINOR_UNIT_DECIMALS)), st.decimals(min_value=0, max_value=10_000_000, places=3))
def test_every_currency_in_its_minor_unit(currency: str, price: Decimal) -> None:
    """In every currency of ISO 4217, a marked-down offer is a whole number of minor units: no fraction of a yen."""
    item = PricedItem("a", Money(currency, price), stock=200)
    made = offer(item, RULES(item, 0), RAILS)
    for money in (made.floor, made.amount, made.ceiling):
        assert money.amount == in_minor_units(money.amount, currency)


@given(amounts, st.none() | amounts, st.none() | amounts, currencies, st.integers(0, 300))
def test_never_above_the_list_price(
    price: Decimal, cost: Decimal | None, low: Decimal | None, currency: str, stock: int
) -> None:
    """No guardrail raises an offer above the list price, which filters and sorting use; a loss leader stays one. Only
    an amount below one minor unit is rounded up to it, and an offer is 0 only for a list price of 0.
    """
    bounds = [None if value is None else Money(currency, value) for value in (cost, low)]
    item = PricedItem("a", Money(currency, price), cost=bounds[0], price_floor=bounds[1], stock=stock)
    made = offer(item, RULES(item, 0), RAILS)
    assert made.amount.amount <= max(price, minor_unit(currency))
    assert (made.amount.amount > 0) == (price > 0)
    assert made.floor.amount <= made.amount.amount <= made.ceiling.amount


def test_a_list_price_below_the_floor() -> None:
    """The list price below cost plus margin applies, and is neither marked down nor said to be held at a floor."""
    item = PricedItem("a", usd("50"), cost=usd("80"), stock=1)
    made = offer(item, RULES(item, 0), RAILS)
    assert (made.amount, made.floor, made.ceiling) == (usd("50.00"), usd("50.00"), usd("50.00"))
    assert (made.reason, made.explanation) == (PriceReason.LIST_PRICE, "The list price applies.")


def held(
    rails: Guardrails, past: Past = NO_PAST, amount: str = "10", now_s: float = 0, **fields: Any
) -> tuple[str, str]:
    """Of a product at 100: the offer and the guardrail that held it."""
    made = offer(
        PricedItem("a", usd("100"), **fields), ProposedPrice(Decimal(amount), PriceReason.AGED, "x"), rails, past, now_s
    )
    return str(made.amount.amount), Guardrail(made.guardrail).name


@pytest.mark.parametrize(
    ("more", "fields", "past", "proposed", "expected"),
    [
        ({}, {}, {}, "80", ("80.00", "NONE")),
        ({}, {}, {}, "NaN", ("100.00", "INVALID_PROPOSAL")),
        ({}, {}, {"current": Decimal("0.8")}, "Infinity", ("80.00", "INVALID_PROPOSAL")),
        ({"maximum_discount": Decimal(1)}, {}, {}, "-5", ("0.01", "SMALLEST_UNIT")),
        ({}, {}, {}, "120", ("100.00", "MAXIMUM_INCREASE")),
        ({"maximum_increase": Decimal("0.1")}, {}, {}, "120", ("110.00", "MAXIMUM_INCREASE")),
        ({}, {"minimum_advertised_price": usd("85")}, {}, "10", ("85.00", "MINIMUM_ADVERTISED_PRICE")),
        ({}, {"cost": usd("80")}, {}, "10", ("84.00", "MINIMUM_MARGIN")),
        ({}, {"price_floor": usd("83.5")}, {}, "10", ("83.50", "PRICE_FLOOR")),
        ({}, {"price_ceiling": usd("60")}, {}, "99", ("60.00", "PRICE_CEILING")),
        ({}, {"price_ceiling": usd("60"), "cost": usd("80")}, {}, "99", ("84.00", "PRICE_CEILING")),
        ({"freeze_s": (0, 9)}, {}, {"current": Decimal("0.9")}, "10", ("90.00", "FREEZE")),
        ({"freeze_s": (0, 9)}, {"cost": usd("90")}, {"current": Decimal("0.9")}, "10", ("94.50", "MINIMUM_MARGIN")),
        ({"freeze_s": (1, 9)}, {}, {"current": Decimal("0.9")}, "80", ("80.00", "NONE")),
        ({}, {}, {}, "10", ("70.00", "MAXIMUM_DISCOUNT")),
        ({"discount_budget": usd("5")}, {}, {"is_budget_spent": True}, "90", ("100.00", "DISCOUNT_BUDGET")),
        ({"discount_budget": Money("EUR", Decimal(5))}, {}, {}, "90", ("100.00", "DISCOUNT_BUDGET")),
        ({"maximum_daily_change": Decimal("0.05")}, {}, {"day": (TENTH_OFF,) * 2}, "10", ("85.50", "DAILY_CHANGE")),
        ({"maximum_daily_change": Decimal("0.05")}, {}, {"day": (TENTH_OFF,) * 2}, "99", ("94.50", "DAILY_CHANGE")),
        (
            {"maximum_daily_change": Decimal("0.05")}, {},
            {"current": Decimal("0.8"), "day": (Decimal("0.8"), Decimal(1))}, "95", ("80.00", "DAILY_CHANGE"),
        ),
        (
            {"maximum_weekly_change": Decimal("0.1")},
            {}, {"week": (TENTH_OFF, Decimal(1))}, "10", ("90.00", "WEEKLY_CHANGE"),
        ),
        ({}, {}, {"allowed": (Decimal("0.9"), Decimal(1))}, "80", ("90.00", "REVIEW")),
        ({"price_endings": (99, 95)}, {}, {}, "80", ("79.99", "PRICE_ENDING")),
        ({"price_endings": (99, 95)}, {}, {}, "79.97", ("79.95", "PRICE_ENDING")),
        ({"price_endings": (99,)}, {"price_floor": usd("80")}, {}, "80", ("80.99", "PRICE_ENDING")),
        (
            {"price_endings": (99,)}, {"price_floor": usd("80"), "price_ceiling": usd("80.5")},
            {}, "80.2", ("80.20", "NONE"),
        ),
        ({"price_endings": (99,)}, {}, {}, "100", ("100.00", "NONE")),
    ],
)  # fmt: skip
def test_each_guardrail(
    more: dict[str, Any], fields: dict[str, Any], past: dict[str, Any], proposed: str, expected: tuple[str, str]
) -> None:
    """Each guardrail holds a proposal, and the offer names the one that held it; of two the stronger one counts."""
    rails = dataclasses.replace(RAILS, **more)
    assert held(rails, Past(**past), proposed, 0, **fields) == expected


def test_a_held_price_is_quoted_with_its_guardrail() -> None:
    """A published price that was computed before keeps the name of the guardrail that held it, and one of the shop has
    none.
    """
    item = PricedItem("a", usd("100"), published=usd("95.00"), guardrail=Guardrail.DAILY_CHANGE)
    made = quoted(item, ProposedPrice(Decimal(80), PriceReason.AGED, "x"), RAILS)
    assert (made.amount, made.guardrail, made.reason) == (usd("95.00"), Guardrail.DAILY_CHANGE, PriceReason.GUARDRAIL)
    assert made.explanation == "A guardrail held the offer at USD 95.00: the largest change in a day."
    shop = quoted(dataclasses.replace(item, guardrail=0), ProposedPrice(Decimal(80), PriceReason.AGED, "x"), RAILS)
    assert (shop.reason, shop.guardrail) == (PriceReason.PUBLISHED, 0)
