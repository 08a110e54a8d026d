"""A computed price changes when a period begins; within it, it is only withdrawn."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from services.pricing.domain.offered_product import ShopOffer
from tests.unit.pricing.shops import DAY_S, LOOSE, START_S, OneProduct, usd


def test_one_price_a_period() -> None:
    """Whatever is proposed within a period, the price of its first look stays; the next period has a new one."""
    one = OneProduct()
    seen = [one.look(share, after_s=DAY_S / 4) for share in ("0.9", "0.8", "0.7", "0.6", "0.5", "0.4", "0.3", "0.2")]
    assert seen == ["90.00"] * 3 + ["60.00"] * 4 + ["20.00"]


def test_when_to_look_again() -> None:
    """A product is looked at again when the next period begins, and when a freeze begins or ends."""
    one = OneProduct()
    one.look("0.9", after_s=100)
    assert one.last is not None
    assert one.last.due_s == START_S + DAY_S
    one.rails(lambda rails: replace(rails, freeze_s=(START_S + 50.0, START_S + 500.0)))
    one.look(after_s=100)
    assert one.last.due_s == START_S + 500


def test_without_periods_a_price_follows() -> None:
    """A policy without periods changes a price as soon as it proposes another one."""
    one = OneProduct(period_s=0)
    assert [one.look("0.9"), one.look("0.8", after_s=1)] == ["90.00", "80.00"]


def test_a_new_price_of_the_shop_withdraws() -> None:
    """Within a period a new price of the shop applies unreduced, also when the shop goes back to the price before."""
    one = OneProduct()
    one.look("0.9")
    one.change(price=usd(120))
    assert one.look(after_s=60) == "120.00"
    one.change(price=usd(100))
    assert one.look(after_s=60) == "100.00"
    assert one.look(after_s=DAY_S) == "90.00"


@pytest.mark.parametrize("bound", ["cost", "price_floor", "minimum_advertised_price"])
def test_a_bound_above_the_price_withdraws(bound: str) -> None:
    """A price that the product's own bounds do not allow any more is withdrawn within the period."""
    one = OneProduct()
    one.look("0.9")
    one.change(**{bound: usd(95)})
    assert one.look(after_s=60) == "100.00"
    assert one.look("0.5", after_s=DAY_S) == "95.00"


def test_a_sale_withdraws() -> None:
    """A sale of the shop applies at once, and no computed price returns within the period."""
    one = OneProduct()
    one.look("0.9")
    one.sale("70")
    assert one.look(after_s=60) == "70.00"
    one.sale(None)
    assert one.look(after_s=60) == "100.00"


def test_a_freeze_keeps_prices() -> None:
    """During a freeze no period changes a price; after it the next one does."""
    one = OneProduct(replace(LOOSE, freeze_s=(START_S + DAY_S / 2, START_S + 2.5 * DAY_S)))
    seen = [one.look("0.9")] + [one.look("0.5", after_s=DAY_S) for _ in range(3)]
    assert seen == ["90.00", "90.00", "90.00", "50.00"]


def test_the_largest_change_of_a_day_and_a_week() -> None:
    """Each period moves a price by the largest change of a day at most, also if looks are late, and of a week."""
    one = OneProduct(replace(LOOSE, maximum_daily_change=Decimal("0.1"), maximum_weekly_change=Decimal("0.25")))
    seen = [one.look("1")] + [one.look("0.1", after_s=DAY_S + 7) for _ in range(4)]
    assert seen == ["100.00", "90.00", "81.00", "75.00", "75.00"]
    assert one.guardrail == "WEEKLY_CHANGE"
    back = [one.look("1", after_s=DAY_S) for _ in range(2)]
    assert back == ["82.50", "90.75"]
    assert one.guardrail == "DAILY_CHANGE"


def test_a_late_publisher_limits_as_usual() -> None:
    """A look late in a period counts from its start: the next period may change the price again."""
    one = OneProduct(replace(LOOSE, maximum_daily_change=Decimal("0.1")))
    one.look("1")
    assert one.look("0.1", after_s=1.9 * DAY_S) == "90.00"
    assert one.look("0.1", after_s=0.2 * DAY_S) == "81.00"


def test_the_shops_own_change_is_not_limited() -> None:
    """The limits are of the computed price as a share of the shop's: a new price of the shop applies at once."""
    one = OneProduct(replace(LOOSE, maximum_daily_change=Decimal("0.1")))
    one.look("0.9")
    one.change(price=usd(300))
    assert one.look(after_s=DAY_S) == "270.00"


def test_a_spent_budget_ends_discounts() -> None:
    """With the budget used up the next period has the shop's price; what was sold is counted by the stock."""
    one = OneProduct(replace(LOOSE, discount_budget=usd(100)))
    one.change(stock=20)
    one.look("0.9")
    assert one.last is not None
    assert one.last.spent is None
    one.change(stock=14)
    assert one.look(after_s=60) == "90.00"
    assert one.last.spent == usd(60)
    one.change(shop={"": ShopOffer(stock=30)})
    one.look(after_s=60)
    assert one.last.spent is None
    assert one.look(after_s=DAY_S, is_budget_spent=True) == "100.00"
