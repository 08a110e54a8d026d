"""What each policy proposes, and that guardrails bound it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.pricing.domain.demand.forecast import Z90
from services.pricing.domain.demand.model import DemandModel
from services.pricing.domain.demand.observations import DemandUnit, Observations
from services.pricing.domain.policies.choice import Ladder
from services.pricing.domain.policies.clearance import ClearancePolicy
from services.pricing.domain.policies.greedy import GreedyPolicy
from services.pricing.domain.policies.port import Measure, Objective, ProposingPolicy
from services.pricing.domain.policies.seeds import SeededNormals
from services.pricing.domain.policies.thompson import ThompsonPolicy
from services.pricing.domain.pricing import PriceReason
from tests.unit.pricing.policies.situations import LIST, bounded, learned, situation, usd

SECRET = b"sixteen bytes or more"
WIDE = bounded(1.0, 20.0)


@pytest.fixture(scope="module")
def model() -> DemandModel:
    return learned(-4.0)


@pytest.fixture(scope="module")
def vague() -> DemandModel:
    """Three periods: much is unknown."""
    return learned(-2.5, periods=3)


def thompson(model: DemandModel, tenant: str = "t", secret: bytes = SECRET) -> ThompsonPolicy:
    return ThompsonPolicy(model, SeededNormals(tenant, secret))


def contextual(model: DemandModel, exploration: float = 1.0) -> ThompsonPolicy:
    return ThompsonPolicy(model, SeededNormals("t", SECRET), exploration=exploration, is_contextual=True)


OPTIMISING: list[Callable[[DemandModel], ProposingPolicy]] = [
    GreedyPolicy,
    thompson,
    lambda model: contextual(model),
    lambda model: ClearancePolicy(model, Objective.SELL_THROUGH),
]


def test_greedy_finds_the_best_price(model: DemandModel) -> None:
    """With elasticity -4 and cost 6 the best price is 6 · 4 / 3 = 8, and 8.50 is the nearest of the ladder."""
    (made,) = GreedyPolicy(model).propose([situation()], WIDE)
    assert made.amount == Decimal("8.50")
    (wider,) = GreedyPolicy(model, ladder=Ladder(0.5, 1.5, 101)).propose([situation()], WIDE)
    assert float(wider.amount) == pytest.approx(8.0, abs=0.25)
    assert wider.reason is PriceReason.DEMAND


def test_the_objective_is_configuration(model: DemandModel) -> None:
    """Pieces ask for the lowest price; revenue for a lower price than margin."""
    ladder = Ladder(0.5, 1.5, 101)
    margin, revenue, pieces = (
        GreedyPolicy(model, objective, ladder).propose([situation()], WIDE)[0].amount
        for objective in (Objective.MARGIN, Objective.REVENUE, Objective.UNITS)
    )
    assert pieces == revenue == Decimal("5.00")
    assert margin > revenue


def test_a_proposal_carries_its_evidence(model: DemandModel) -> None:
    """The facts of an explanation: elasticity with interval; demand and profit at any price, as at the list price."""
    (made,) = GreedyPolicy(model).propose([situation()], WIDE)
    evidence, listed = made.evidence, Decimal(10)
    assert evidence is not None
    assert evidence.curve.elasticity.low < -4.0 < evidence.curve.elasticity.high
    here, there = evidence.units_a_day(made.amount), evidence.units_a_day(listed)
    assert here.mean == pytest.approx(there.mean * 0.85**-4, rel=0.15)
    assert here.low < here.mean < here.high
    assert evidence.measure is Measure.PROFIT
    assert evidence.result_a_day(made.amount).mean == pytest.approx(2.5 * here.mean)
    assert evidence.result_a_day(listed) == there.times(4.0)
    assert f"interval {evidence.curve.elasticity.low:.1f} to" in made.explanation
    assert f"{4.0 * there.mean:.2f}" in made.explanation


def test_a_forecast_and_its_curves_agree(vague: DemandModel) -> None:
    """The curve of a unit has the mean of the forecast at any price, also with shocks and many coefficients."""
    forecast = vague.forecast(Observations.of([3, 4], [70, 70], 1.0, 0.0, exposure=[2.0, 0.5]))
    prices = np.array([[7.0, 10.0, 12.0]] * 2)
    curves = forecast.curves()
    found = [[curve.units(price).mean for price in prices[0]] for curve in curves]
    assert np.allclose(found, forecast.units(prices))
    mean, variance = forecast.log_units(prices)
    assert curves[1].units(7.0).high == pytest.approx(np.exp(mean + Z90 * np.sqrt(variance))[1, 0])


def test_exploration_names_the_price_that_is_expected_to_be_best(vague: DemandModel) -> None:
    """The evidence of a price that is tried has the price of greedy."""
    (best,) = GreedyPolicy(vague).propose([situation()], WIDE)
    tried = [thompson(vague).propose([situation(period=period)], WIDE)[0] for period in range(30)]
    assert any(made.amount != best.amount for made in tried)
    assert {made.evidence.best for made in tried if made.evidence} == {best.amount}


def test_a_period_of_two_days_counts_by_the_day(model: DemandModel) -> None:
    """Pieces of the period are divided by its days."""
    day, two = GreedyPolicy(model).propose([situation(), situation(period_days=2.0)], WIDE)
    assert day.evidence is not None
    assert two.evidence is not None
    assert two.evidence.units_a_day(two.amount).mean == pytest.approx(day.evidence.units_a_day(day.amount).mean / 2)


def test_without_cost_there_is_no_profit(model: DemandModel) -> None:
    """The revenue is maximised, and the explanation names it."""
    (made,) = GreedyPolicy(model).propose([situation(cost=None)], WIDE)
    assert made.evidence is not None
    assert made.evidence.measure is Measure.REVENUE
    assert "a revenue of" in made.explanation


@pytest.mark.parametrize("make", OPTIMISING)
def test_an_unknown_product_keeps_its_list_price(
    make: Callable[[DemandModel], ProposingPolicy], model: DemandModel
) -> None:
    """A product that the model lacks has no evidence; the others keep their places."""
    items = [situation(0, days_to_clear=9.0, stock=9), situation(99, days_to_clear=9.0, stock=9)]
    known, unknown = make(model).propose(items, WIDE)
    assert known.evidence is not None
    assert (unknown.amount, unknown.reason) == (Decimal("10.00"), PriceReason.LIST_PRICE)


@pytest.mark.parametrize("make", OPTIMISING)
@given(
    low=st.floats(1.0, 15.0), width=st.floats(0.0, 10.0), stock=st.none() | st.integers(0, 1000),
    days=st.none() | st.floats(0.0, 100.0), period=st.integers(0, 10_000),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_proposal_is_outside_the_bounds(
    make: Callable[[DemandModel], ProposingPolicy], low: float, width: float, stock: int | None, days: float | None,
    period: int, vague: DemandModel,
) -> None:  # fmt: skip
    """Whatever the guardrails leave, the optimiser stays in it, in whole cents. Only a price that is not optimised (no
    date to clear the stock) is the list price.
    """
    guard = bounded(low, low + width)
    case = situation(period=period, stock=stock, days_to_clear=days)
    (made,) = make(vague).propose([case], guard)
    if made.evidence is not None:
        floor, ceiling = Decimal(f"{low:.2f}"), Decimal(f"{low + width:.2f}")
        assert floor <= made.amount <= ceiling
        assert made.amount == round(made.amount, 2)


@pytest.mark.parametrize("make", OPTIMISING)
def test_before_the_first_sale_list_prices_apply(make: Callable[[DemandModel], ProposingPolicy]) -> None:
    """A model without any sale knows no demand, and a product that is given away has no elasticity."""
    for model, price in ((learned(-2.0, periods=0), LIST), (learned(-2.0, periods=5), 0.0)):
        case = situation(stock=9, days_to_clear=9.0, list_price=usd(price))
        (made,) = make(model).propose([case], WIDE)
        assert (made.amount, made.reason) == (case.item.list_price.amount, PriceReason.LIST_PRICE)


def test_a_new_product_is_priced_by_its_category(model: DemandModel) -> None:
    """Without a sale of its own it gets the price of a product of its category, with a wider interval."""
    grown = learned(-4.0)
    grown.add([DemandUnit("new", "", "c", "b0", LIST)])
    case = replace(situation(), item=replace(situation().item, item_id="new"))
    old, new = GreedyPolicy(grown).propose([situation(), case], WIDE)
    assert new.amount == old.amount == Decimal("8.50")
    assert old.evidence is not None
    assert new.evidence is not None
    assert new.evidence.curve.elasticity.low < old.evidence.curve.elasticity.low


@pytest.mark.parametrize("field", ["period_days", "days_to_clear", "exposure", "promotion", "season", "substitutes"])
@pytest.mark.parametrize("value", [float("nan"), -1.0])
def test_a_wrong_situation_is_refused_by_name(field: str, value: float, model: DemandModel) -> None:
    """NaN and negative values are refused; the error names the field."""
    wrong: dict[str, Any] = {field: value}
    with pytest.raises(InvalidArgument, match=field):
        GreedyPolicy(model).propose([situation(**wrong)], WIDE)


def test_the_best_price_is_searched_within_the_bounds(model: DemandModel) -> None:
    """The optimiser knows the bounds: the price that holds is not moved afterwards."""
    (made,) = GreedyPolicy(model).propose([situation()], bounded(9.23, 9.77))
    assert made.amount == Decimal("9.23")
    assert made.evidence is not None
    assert made.evidence.best == Decimal("9.23")


def test_the_same_seed_proposes_the_same_price(vague: DemandModel) -> None:
    """Another replica with the same model, and a retry, propose the same, alone or among others."""
    cases = [situation(number) for number in range(20)]
    first, second = (thompson(vague).propose(cases, WIDE) for _ in range(2))
    (alone,) = thompson(vague).propose([cases[7]], WIDE)
    assert first == second
    assert alone.amount == first[7].amount


@pytest.mark.parametrize("changed", ["tenant", "secret", "period", "price_list"])
def test_another_seed_proposes_other_prices(changed: str, vague: DemandModel) -> None:
    """Tenant, secret, period and price list each change what is drawn."""
    other = {"tenant": "other"} if changed == "tenant" else {"secret": SECRET[::-1]} if changed == "secret" else {}
    draw = SeededNormals(other.get("tenant", "t"), other.get("secret", SECRET))  # type: ignore[arg-type]
    case = situation(period=61 if changed == "period" else 60, price_list_id="b2b" if changed == "price_list" else "")
    assert not np.array_equal(draw([case], 2), SeededNormals("t", SECRET)([situation()], 2))


def test_a_short_secret_is_refused() -> None:
    """The error says how many bytes to give."""
    with pytest.raises(InvalidArgument, match=r"^seed: has 5 bytes; give 16 or more"):
        SeededNormals("t", b"short")


def test_thompson_explores_while_it_is_uncertain(vague: DemandModel) -> None:
    """Prices of many periods differ while little is known, less when much is known, and such a price is named."""
    known = learned(-2.5, periods=400)
    prices = [
        [thompson(model).propose([situation(period=period)], WIDE)[0] for period in range(60)]
        for model in (vague, known)
    ]
    spreads = [np.std([float(made.amount) for made in each]) for each in prices]
    assert spreads[0] > 0.3
    assert spreads[1] < 0.8 * spreads[0]
    assert PriceReason.EXPLORATION in {made.reason for made in prices[0]}


def test_without_exploration_thompson_is_greedy(vague: DemandModel) -> None:
    """A factor of 0 draws nothing: the price of the mean coefficients."""
    policy = ThompsonPolicy(vague, SeededNormals("t", SECRET), exploration=0.0)
    assert len({policy.propose([situation(period=period)], WIDE)[0].amount for period in range(20)}) == 1


@pytest.mark.parametrize("exploration", [-0.1, 2.5, float("nan")])
def test_exploration_has_bounds(exploration: float, model: DemandModel) -> None:
    """0 to 2."""
    with pytest.raises(InvalidArgument, match=r"^exploration: is"):
        contextual(model, exploration)


def test_scarce_stock_is_not_marked_down(model: DemandModel) -> None:
    """A lower price sells more of many pieces. Of three pieces in a period that sells twenty it only earns less."""
    policy = contextual(model, 0.0)
    many, few = policy.propose([situation(stock=10_000), situation(stock=3)], WIDE)
    assert many.amount == Decimal("8.50")
    assert few.amount == Decimal("11.50")


def test_the_last_days_are_not_explored(vague: DemandModel) -> None:
    """On the last day before the date nothing is left to learn for."""
    policy = contextual(vague)
    cases = [situation(period=period, stock=10_000, days_to_clear=0.0) for period in range(20)]
    assert len({made.amount for made in policy.propose(cases, WIDE)}) == 1


def test_clearance_sells_the_stock_at_the_highest_price_that_does(model: DemandModel) -> None:
    """About 20 pieces a day are sold at 10.00: 100 in ten days need no markdown, 400 need 10 · 2 ^ (-1 / 4) = 8.41."""
    policy = ClearancePolicy(model, Objective.SELL_THROUGH)
    small, large, none = policy.propose(
        [situation(stock=100, days_to_clear=10.0), situation(stock=400, days_to_clear=10.0), situation(stock=400)],
        WIDE,
    )  # fmt: skip
    assert small.amount == Decimal("10.00")
    assert float(large.amount) == pytest.approx(8.41, abs=0.35)
    assert large.reason is PriceReason.CLEARANCE
    assert none.reason is PriceReason.LIST_PRICE


def test_clearance_for_money_counts_revenue_only() -> None:
    """The cost of a stock that must go is spent: with elasticity -0.5 no markdown pays, with -4 one far below cost."""
    cases = [situation(stock=100_000, days_to_clear=10.0)]
    (inelastic,) = ClearancePolicy(learned(-0.5)).propose(cases, WIDE)
    (elastic,) = ClearancePolicy(learned(-4.0)).propose(cases, WIDE)
    assert inelastic.amount == Decimal("10.00")
    assert elastic.amount == Decimal("3.00")


@pytest.mark.parametrize(("lowest", "highest", "steps"), [(0.0, 1.1, 9), (1.1, 1.2, 9), (0.9, 0.95, 9), (0.9, 1.1, 1)])
def test_a_ladder_contains_the_list_price(lowest: float, highest: float, steps: int) -> None:
    """The error names the ladder and its bounds."""
    with pytest.raises(InvalidArgument, match=r"^ladder"):
        Ladder(lowest, highest, steps)
