"""Prices that answer to a competitor, learned from what was shown, bought and observed."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import cast

import numpy as np
import pytest

from services.common.money import Money
from services.pricing.domain.guardrails import Guardrails
from services.pricing.domain.policies.port import Objective
from services.pricing.domain.policy_set import Policy
from services.pricing.domain.pricing import PricedItem
from services.pricing.learning.counting import Counts
from services.pricing.learning.facts import ListedProduct, ShownOffer
from services.pricing.learning.periods import DAY_S, PeriodCounts, Periods
from services.pricing.learning.prices import LearnedPolicy, LearnedPrices, ladder_of
from services.pricing.learning.sqlite_table import DemandTable

TODAY, DAYS, PRODUCTS = 20_000, 90, 12
COST, LIST = 100.0, 192.0
RAILS = Guardrails(Decimal("0.05"), Decimal("0.4"), Decimal("0.2"))


def share(own: object, other: float) -> np.ndarray:
    """Of the shoppers: a logit of two shops and of buying nothing, as in Calvano et al. (2020)."""
    one, two = (np.exp((200 - np.asarray(price)) / 25) for price in (own, other))
    return np.asarray(one / (one + two + 1))


def best(other: float) -> float:
    prices = np.linspace(COST, 230, 1_000)
    return float(prices[np.argmax((prices - COST) * share(prices, other))])


class Market:
    """A table of sales beside a competitor whose prices are chance around 150; `is_observed`: whether it has them."""

    def __init__(self, is_observed: bool) -> None:
        self.is_observed = is_observed

    def periods(self, since: object = None) -> Periods:
        return Periods.of(self._rows())

    def _rows(self) -> Iterator[PeriodCounts]:
        random = np.random.default_rng(5)
        for product in range(PRODUCTS):
            for day in range(TODAY - DAYS, TODAY):
                own, other = random.uniform(130, 192), 150 * np.exp(random.normal(0, 0.1))
                units = int(random.poisson(40 * share(own, other)))
                counts = Counts(views=40, stocked_views=40, visitors=40, exposure=40.0, units=units)
                shown = ShownOffer("", "USD", round(own * 100), round(LIST * 100))
                yield PeriodCounts(
                    ListedProduct(f"p{product}", "Shoes", ""), day, shown, counts,
                    round(other * 100) * self.is_observed,
                )  # fmt: skip


def policy_of(is_observed: bool, name: str = "best-response") -> Policy:
    prices = LearnedPrices(lambda: cast(DemandTable, Market(is_observed)), "t", b"0123456789abcdef")
    wanted = LearnedPolicy(name, Objective.MARGIN, ladder_of(0.4, 0.2), int(DAY_S))
    return Policy("a", name, prices.pricer(wanted), RAILS, int(DAY_S))


def usd(amount: float) -> Money:
    return Money("USD", Decimal(f"{amount:.2f}"))


def mean_price(policy: Policy, competitor: Money | None) -> float:
    """Over all products and some periods: single prices are partly chance."""
    items = [PricedItem(f"p{number}", usd(LIST), usd(COST), competitor=competitor) for number in range(PRODUCTS)]
    days = range(TODAY, TODAY + 2)
    return float(np.mean([float(policy.proposed(one, day * DAY_S).amount) for day in days for one in items]))


@pytest.fixture(scope="module")
def learned() -> Policy:
    return policy_of(is_observed=True)


def test_the_best_response_is_found(learned: Policy) -> None:
    """From sales and observed prices alone, near the best response of the true demand, and as far from one another."""
    asked = 130.0, 170.0
    low, high = (mean_price(learned, usd(price)) for price in asked)
    best_low, best_high = (best(price) for price in asked)
    assert (low, high) == pytest.approx((best_low, best_high), rel=0.04)
    assert high - low == pytest.approx(best_high - best_low, rel=0.4)


def test_the_explanation_names_the_competitor(learned: Policy) -> None:
    """A merchandiser reads what the competitor asks, and how that compares with what it usually asks."""
    item = PricedItem("p1", usd(LIST), usd(COST), competitor=usd(120))
    text = learned.proposed(item, TODAY * DAY_S).explanation
    assert text.startswith("A competitor asks USD 120.00, 80% of what it usually is. ")


def test_policies_that_do_not_answer() -> None:
    """They ask what is best at the competitor's usual price, whatever it asks now."""
    assert mean_price(policy_of(True, _OTHER), usd(120)) == pytest.approx(best(150), rel=0.03)


@pytest.mark.parametrize("competitor", [None, Money("EUR", Decimal(20))])
def test_without_an_observation(competitor: Money | None) -> None:
    """The price is that of contextual Thompson sampling, also if the only price is in another currency."""
    item = PricedItem("p1", usd(LIST), usd(COST), competitor=competitor)
    ours, other = (policy_of(True, name).proposed(item, TODAY * DAY_S) for name in ("best-response", _OTHER))
    assert ours == other


_OTHER = "contextual-thompson"
