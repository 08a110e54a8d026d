"""No proposal passes the guardrails: compared with a search among all prices of a small currency."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_UP, Decimal

from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.common.money import Money
from services.pricing.domain.guardrails import Guardrail, Guardrails, Past, offer
from services.pricing.domain.pricing import PricedItem, PriceReason, ProposedPrice

MOST = 400
yen = st.integers(0, 130).map(Decimal)
bounds = st.none() | yen
shares = st.decimals(0, 2, places=2, allow_nan=False)
changes = st.none() | st.decimals(0, 1, places=2, allow_nan=False)
windows = st.none() | st.tuples(shares, shares).map(lambda pair: (min(pair), max(pair)))
hostile = (
    st.decimals()
    | st.sampled_from(["NaN", "sNaN", "-NaN", "Infinity", "-Infinity", "1E+999999", "-1E+999999", "1E-999999"]).map(
        Decimal
    )
    | st.integers(-200, 500).map(Decimal)
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[PricedItem, Guardrails, Past]:
    low, high = sorted([draw(yen), draw(yen)])
    day = draw(windows)
    item = PricedItem(
        "a", jpy(draw(st.integers(0, 120).map(Decimal))), cost=money(draw(bounds)),
        price_floor=draw(st.sampled_from([None, jpy(low)])), price_ceiling=draw(st.sampled_from([None, jpy(high)])),
        minimum_advertised_price=money(draw(bounds)),
    )  # fmt: skip
    rails = Guardrails(
        draw(shares), draw(st.decimals(0, 1, places=2)), draw(shares), draw(changes), draw(changes),
        tuple(draw(st.lists(st.integers(0, 99), max_size=3))), draw(st.sampled_from([None, (0.0, math.inf)])),
        draw(st.sampled_from([None, jpy(Decimal(1)), Money("USD", Decimal(1))])),
    )  # fmt: skip
    past = Past(draw(shares), day, draw(windows), draw(windows), draw(st.booleans()))
    return item, rails, past


def jpy(amount: Decimal) -> Money:
    return Money("JPY", amount)


def money(amount: Decimal | None) -> Money | None:
    return None if amount is None else jpy(amount)


def at_least(prices: list[int], low: Decimal) -> list[int]:
    return [price for price in prices if price >= low] or [max(prices)]


def at_most(prices: list[int], high: Decimal) -> list[int]:
    return [price for price in prices if price <= high] or [min(prices)]


def allowed(item: PricedItem, rails: Guardrails, past: Past) -> list[int]:
    """All prices that the guardrails leave, the strongest guardrail first; of one that allows nothing the nearest."""
    price = item.list_price.amount
    prices = [n for n in range(MOST) if n >= 1 or not price]
    prices = at_most(prices, price * (1 + rails.maximum_increase))
    if item.minimum_advertised_price:
        prices = at_least(prices, item.minimum_advertised_price.amount)
    if item.cost:
        prices = at_least(prices, item.cost.amount * (1 + rails.minimum_margin))
    if item.price_floor:
        prices = at_least(prices, item.price_floor.amount)
    if item.price_ceiling:
        prices = at_most(prices, item.price_ceiling.amount)
    current = (past.current * price).to_integral_value(ROUND_HALF_UP)
    if rails.freeze_s:
        prices = at_most(at_least(prices, current), current)
    prices = at_least(prices, price * (1 - rails.maximum_discount))
    if rails.discount_budget and (past.is_budget_spent or rails.discount_budget.currency != "JPY"):
        prices = at_least(prices, price)
    for change, window in ((rails.maximum_daily_change, past.day), (rails.maximum_weekly_change, past.week)):
        if change is not None and window:
            low, high = window[1] * (1 - change), window[0] * (1 + change)
            if low > high:
                low = high = past.current
            prices = at_most(at_least(prices, low * price), high * price)
    if past.allowed:
        prices = at_most(at_least(prices, past.allowed[0] * price), past.allowed[1] * price)
    return prices


@settings(max_examples=1_500, deadline=None)
@given(cases(), hostile)
@example((PricedItem("a", jpy(Decimal(0))), Guardrails(Decimal(0), Decimal(1), Decimal(0)), Past()), Decimal("sNaN"))
def test_no_guardrail_is_passed(case: tuple[PricedItem, Guardrails, Past], amount: Decimal) -> None:
    """Whatever is proposed, the offer is one that the guardrails leave, has an ending if one of those has one near, and
    names a guardrail exactly if it is not the proposal.
    """
    item, rails, past = case
    made = offer(item, ProposedPrice(amount, PriceReason.AGED, ""), rails, past, now_s=1)
    left = allowed(item, rails, past)
    price = int(made.amount.amount)
    assert price == made.amount.amount
    assert price in left
    assert [made.floor.amount, made.ceiling.amount] == [Decimal(left[0]), Decimal(left[-1])]
    near = [other for other in left if abs(other - price) < 100 and other % 100 in rails.price_endings]
    if rails.price_endings and price != item.list_price.amount and near:
        assert price % 100 in rails.price_endings
    if amount.is_finite() and abs(amount) < MOST:
        is_kept = price == amount.to_integral_value(ROUND_HALF_UP)
        assert (made.guardrail == Guardrail.NONE) == is_kept
