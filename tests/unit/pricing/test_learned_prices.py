"""Prices that are learned from what was shown and bought."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from services.common.money import Money
from services.pricing.domain.guardrails import Guardrails, Past, offer
from services.pricing.domain.policies.port import Objective
from services.pricing.domain.policy_set import Policy
from services.pricing.domain.pricing import PricedItem, PriceReason
from services.pricing.learning.counting import Counts
from services.pricing.learning.facts import ListedProduct, ShownOffer
from services.pricing.learning.periods import DAY_S, PeriodCounts, Periods
from services.pricing.learning.prices import LearnedPolicy, LearnedPrices, ladder_of, seed_of
from services.pricing.learning.sqlite_table import DemandTable

TODAY, DAYS = 20_000, 40
LIST, COST = 10_000, 5_000
RAILS = Guardrails(Decimal("0.05"), Decimal("0.3"), Decimal("0.3"))


class Table:
    """Sales of products whose demand is known: pieces are in proportion to views, and to price ** elasticity."""

    def __init__(self, elasticity: float, products: int = 12) -> None:
        self.elasticity, self.products, self.reads = elasticity, products, 0

    def periods(self, since: object = None, product_id: str | None = None) -> Periods:
        self.reads += 1
        return Periods.of(self._rows())

    def _rows(self) -> Iterator[PeriodCounts]:
        random = np.random.default_rng(1)
        for product in range(self.products):
            for day in range(TODAY - DAYS, TODAY):
                level = random.uniform(0.75, 1.25)
                price = round(LIST * level)
                units = int(random.poisson(200 * 0.05 * (price / LIST) ** self.elasticity))
                counts = Counts(views=200, stocked_views=200, visitors=200, exposure=200.0, units=units)
                # Rows that say nothing: without a price, or without a list price.
                for shown in (None, ShownOffer("", "USD", price, 0)):
                    yield PeriodCounts(
                        ListedProduct(f"p{product}", "Shoes", ""), day, shown, Counts(views=1, exposure=1.0, units=9)
                    )
                yield PeriodCounts(
                    ListedProduct(f"p{product}", "Shoes", f"b{product % 3}"), day, ShownOffer("", "USD", price, LIST),
                    counts,
                )  # fmt: skip


def learned_prices(table: object) -> LearnedPrices:
    return LearnedPrices(lambda: cast(DemandTable, table), "t", b"0123456789abcdef")


def policy_of(prices: LearnedPrices, name: str = "greedy", **more: Any) -> Policy:
    wanted = LearnedPolicy(name, Objective.MARGIN, ladder_of(0.3, 0.3), int(DAY_S), **more)
    return Policy("a", name, prices.pricer(wanted), RAILS, int(DAY_S))


def item(product_id: str = "p1", **more: Any) -> PricedItem:
    return PricedItem(product_id, Money("USD", Decimal(100)), Money("USD", Decimal(50)), **more)


@pytest.mark.parametrize(
    ("elasticity", "best"),
    # The best price is cost * e / (e + 1), within 70 to 130.
    [(-2.5, 83.3), (-1.9, 105.6), (-1.3, 130.0), (-8.0, 70.0)],
)
def test_the_best_price_is_found(elasticity: float, best: float) -> None:
    """From sales alone, within the guardrails."""
    made = policy_of(learned_prices(Table(elasticity))).proposed(item(), TODAY * DAY_S)
    assert float(made.amount) == pytest.approx(best, abs=6)
    assert made.reason is PriceReason.DEMAND or float(made.amount) == 100
    assert "interval" in made.explanation


def test_what_the_guardrails_allow_now_is_optimised() -> None:
    """With a limit on changes the best of what is left is proposed, not what the limit makes of the best."""
    policy, past = policy_of(learned_prices(Table(-8.0))), Past(day=(Decimal(1), Decimal(1)))
    rails = Guardrails(Decimal(0), Decimal("0.3"), Decimal("0.3"), maximum_daily_change=Decimal("0.1"))
    limited = Policy("a", "greedy", policy.pricer, rails, int(DAY_S))
    made = limited.proposed(item(), TODAY * DAY_S, past)
    assert made.amount == Decimal(90)
    assert offer(item(), made, rails, past).amount == Money("USD", Decimal(90))


def test_a_product_without_sales_has_its_list_price() -> None:
    """So does every product while nothing was counted."""
    unknown = policy_of(learned_prices(Table(-2.0))).proposed(item("new"), TODAY * DAY_S)

    def missing() -> DemandTable:
        raise ValueError("there is no table")

    nothing = policy_of(LearnedPrices(missing, "t", b"0123456789abcdef")).proposed(item(), TODAY * DAY_S)
    for made in (unknown, nothing):
        assert (made.amount, made.reason) == (Decimal(100), PriceReason.LIST_PRICE)


def test_a_period_has_one_price() -> None:
    """Exploration is drawn by product and period: the same again after a restart, another one the day after."""
    table = Table(-2.0, products=2)
    one, other = (policy_of(learned_prices(table), "thompson") for _ in range(2))
    days = [[each.proposed(item(), (TODAY + day) * DAY_S + 5).amount for day in range(6)] for each in (one, other)]
    assert days[0] == days[1]
    assert len(set(days[0])) > 1
    assert one.pricer.next_change_s(item(), TODAY * DAY_S + 5) == (TODAY + 1) * DAY_S


def test_the_demand_is_learned_once_a_day() -> None:
    """However many products are priced."""
    table = Table(-2.0, products=3)
    policy = policy_of(learned_prices(table))
    for number in range(10):
        policy.proposed(item(f"p{number}"), TODAY * DAY_S + number)
    policy.proposed(item(), (TODAY + 1) * DAY_S)
    assert table.reads == 2


def test_another_currency_has_its_list_price() -> None:
    """An elasticity says nothing of a price in another currency than those that were shown."""
    euros = PricedItem("p1", Money("EUR", Decimal(90)), Money("EUR", Decimal(50)))
    made = policy_of(learned_prices(Table(-2.5))).proposed(euros, TODAY * DAY_S)
    assert (made.amount, made.reason) == (Decimal(90), PriceReason.LIST_PRICE)
    assert "another currency" in made.explanation


def test_what_could_not_be_read_is_read_again() -> None:
    """An error of one step does not cost the day's prices."""
    table, answers = Table(-8.0, products=2), [sqlite3.OperationalError("database is locked")]

    def busy() -> DemandTable:
        if answers:
            raise answers.pop()
        return cast(DemandTable, table)

    policy = policy_of(LearnedPrices(busy, "t", b"0123456789abcdef"))
    with pytest.raises(sqlite3.OperationalError):
        policy.proposed(item(), TODAY * DAY_S)
    assert policy.proposed(item(), TODAY * DAY_S).amount < 90


def test_the_widest_guardrails_have_a_ladder() -> None:
    """The largest increase that a policy may name, ten times the price, is beyond the highest price that is tried."""
    assert ladder_of(1.0, 10.0).highest == 10


def test_stock_that_must_be_sold_becomes_cheaper() -> None:
    """The nearer the date, and the more there is."""
    prices = learned_prices(Table(-2.0))
    clear_by_s = (TODAY + 5) * DAY_S
    policy = policy_of(prices, "clearance", clear_by_s=clear_by_s)
    few, many = (policy.proposed(item(stock=stock), TODAY * DAY_S) for stock in (5, 5_000))
    assert few.amount > many.amount
    assert many.reason is PriceReason.CLEARANCE


def test_the_seed_is_kept(tmp_path: Path) -> None:
    """It is secret: with it one could compute which prices are experiments."""
    first = seed_of(tmp_path / "learning")
    assert first == seed_of(tmp_path / "learning")
    assert len(first) == 32
    assert (tmp_path / "learning" / "exploration.seed").stat().st_mode & 0o077 == 0
