"""Offers are within their guardrails for any proposed price."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.common.money import MINOR_UNIT_DECIMALS, Money, in_minor_units, minor_unit
from services.pricing.domain.pricing import (
    Guardrails,
    MarkdownRules,
    PricedItem,
    PriceReason,
    ProposedPrice,
    offer,
)

RAILS = Guardrails(Decimal("0.05"), Decimal("0.30"), Decimal(0))
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
    assert made.explanation == "x A guardrail raised the offer to the floor of USD 70.00."


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
