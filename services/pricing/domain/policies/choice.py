"""The price of a ladder with the best expected result, between the floor and the ceiling of the guardrails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from services.common.errors import InvalidArgument
from services.common.money import MINOR_UNIT_DECIMALS, Money
from services.pricing.domain.demand.forecast import Forecast
from services.pricing.domain.demand.model import DemandModel
from services.pricing.domain.demand.observations import Floats, Ints, Observations
from services.pricing.domain.policies.list_price import at_list_price
from services.pricing.domain.policies.port import Evidence, Guard, Objective, Proposal, ProposalReason, Situation
from services.pricing.domain.pricing import PriceReason, ProposedPrice

# The highest price that is tried, relative to the list price.
MAX_RELATIVE = 10.0

# Demand in pieces by situation and price, from the forecast of the situations.
Demand = Callable[[Forecast, Sequence[Situation], Floats], Floats]


@dataclass(frozen=True)
class Ladder:
    """Candidate prices: `steps` of them from `lowest` to `highest`, relative to the list price."""

    lowest: float = 0.85
    highest: float = 1.15
    steps: int = 25

    def __post_init__(self) -> None:
        if not 0 < self.lowest <= 1 <= self.highest <= MAX_RELATIVE:
            wrong = f"{self.lowest} to {self.highest} must contain 1 and lie in (0, {MAX_RELATIVE:g}]"
            raise InvalidArgument.of("ladder", wrong)
        if not 2 <= self.steps <= 200:
            raise InvalidArgument.of("ladder.steps", f"is {self.steps}; give 2 to 200")

    def relative(self) -> Floats:
        return np.linspace(self.lowest, self.highest, self.steps)


def expected_demand(forecast: Forecast, situations: Sequence[Situation], prices: Floats) -> Floats:
    """The mean over what is unknown of the demand."""
    return forecast.units(prices)


def choose(
    model: DemandModel, situations: Sequence[Situation], guard: Guard, *, objective: Objective, ladder: Ladder,
    demand: Demand = expected_demand, uses_stock: bool = False, reason: ProposalReason = ProposalReason.DEMAND,
    sees_competitor: bool = False,
) -> list[Proposal]:  # fmt: skip
    """Where `demand` chooses another price than expected demand does, the reason is EXPLORATION.

    `uses_stock`: no more is sold than is in stock. `sees_competitor`: the demand is that at the competitor's price of
    the situation; otherwise at its usual price.
    """
    if not sees_competitor:
        situations = [replace(each, competitor=0.0) for each in situations]
    is_known = _known(model, situations)
    known = [each for each, is_one in zip(situations, is_known, strict=True) if is_one]
    made = iter(_choose(model, known, guard, objective, ladder, demand, uses_stock, reason) if known else ())
    unknown = "The list price applies: nothing is known of the demand for this product."
    return [
        next(made) if is_one else at_list_price(each, unknown)
        for each, is_one in zip(situations, is_known, strict=True)
    ]


def _known(model: DemandModel, situations: Sequence[Situation]) -> list[bool]:
    units = [
        model.index_of.get((each.item.item_id, each.item.price_list_id), -1) if each.item.list_price.amount > 0 else -1
        for each in situations
    ]
    asked = np.unique(np.array([unit for unit in units if unit >= 0], np.int64))
    known = set(asked[model.is_known(asked)].tolist())
    return [unit in known for unit in units]


def _choose(
    model: DemandModel, situations: Sequence[Situation], guard: Guard, objective: Objective, ladder: Ladder,
    demand: Demand, uses_stock: bool, reason: ProposalReason,
) -> list[Proposal]:  # fmt: skip
    forecast = model.forecast(_rows(model, situations))
    prices = candidates(situations, guard, ladder)
    expected = forecast.units(prices)
    best = _best(objective, situations, prices, expected, uses_stock)
    chosen = best
    if demand is not expected_demand:
        drawn = demand(forecast, situations, prices)
        chosen = _best(objective, situations, prices, drawn, uses_stock)
    at_list = np.array([[float(each.item.list_price.amount)] for each in situations])
    units_at_list = forecast.units(at_list)[:, 0]
    proposals = []
    for row, situation in enumerate(situations):
        column = chosen[row]
        why = reason if prices[row, column] == prices[row, best[row]] else ProposalReason.EXPLORATION
        proposals.append(
            _proposal(
                situation, forecast, row, float(prices[row, column]), float(expected[row, column]),
                float(units_at_list[row]), why,
            )
        )  # fmt: skip
    return proposals


def _rows(model: DemandModel, situations: Sequence[Situation]) -> Observations:
    units = [model.index_of[each.item.item_id, each.item.price_list_id] for each in situations]
    return Observations.of(
        units, [each.period for each in situations], 1.0, 0.0,
        exposure=[each.exposure for each in situations], promotion=[each.promotion for each in situations],
        season=[each.season for each in situations], age_years=[each.age_years for each in situations],
        substitutes=[each.substitutes for each in situations], competitor=[each.competitor for each in situations],
    )  # fmt: skip


def candidates(situations: Sequence[Situation], guard: Guard, ladder: Ladder) -> Floats:
    """[situations, steps]: the ladder, moved between floor and ceiling, in whole minor units."""
    offers = [
        guard(each.item, ProposedPrice(each.item.list_price.amount, PriceReason.LIST_PRICE, "")) for each in situations
    ]
    prices = np.array([[float(each.item.list_price.amount)] for each in situations]) * ladder.relative()
    scale = np.array([[10.0 ** MINOR_UNIT_DECIMALS[each.item.list_price.currency]] for each in situations])
    floor = np.array([[float(made.floor.amount)] for made in offers])
    ceiling = np.array([[float(made.ceiling.amount)] for made in offers])
    return np.asarray(np.clip(np.round(prices * scale) / scale, floor, ceiling))


def _best(
    objective: Objective, situations: Sequence[Situation], prices: Floats, units: Floats, uses_stock: bool
) -> Ints:  # fmt: skip
    """Of each situation the position of the best price; of equal ones the highest price."""
    cost = np.array([[float(each.item.cost.amount) if each.item.cost else 0.0] for each in situations])
    stock = np.array([[np.inf if each.item.stock is None else float(each.item.stock)] for each in situations])
    periods = np.array([[max((each.days_to_clear or 0) / each.period_days, 1.0)] for each in situations])
    is_dated = uses_stock & np.array([[each.days_to_clear is not None] for each in situations])
    sold = np.minimum(units * np.where(is_dated, periods, 1.0), stock) if uses_stock else units
    # What must be sold until a date is worth what it brings: its cost is spent.
    margin = (prices - np.where(is_dated, 0.0, cost)) * sold
    value = {
        Objective.MARGIN: margin,
        Objective.REVENUE: prices * sold,
        Objective.UNITS: sold,
        Objective.SELL_THROUGH: np.where(is_dated & np.isfinite(stock), sold, margin),
    }[objective]
    # A tie, within a millionth, goes to the highest price.
    top = value.max(axis=1, keepdims=True)
    return np.asarray(np.where(value >= top - 1e-6 * np.abs(top), prices, -1.0).argmax(axis=1))


def _proposal(
    situation: Situation, forecast: Forecast, row: int, price: float, units: float, units_at_list: float,
    reason: ProposalReason,
) -> Proposal:  # fmt: skip
    item = situation.item
    currency, listed = item.list_price.currency, float(item.list_price.amount)
    cost = None if item.cost is None else float(item.cost.amount)
    evidence = Evidence(
        forecast.elasticity(row, price), units, units_at_list, price * units, listed * units_at_list,
        None if cost is None else (price - cost) * units,
        None if cost is None else (listed - cost) * units_at_list,
    )  # fmt: skip
    amount = Decimal(f"{price:.{MINOR_UNIT_DECIMALS[currency]}f}")
    return Proposal(amount, reason, _explanation(currency, amount, evidence, reason), evidence)


_WHY = {
    ProposalReason.DEMAND: "is expected to bring the best result",
    ProposalReason.EXPLORATION: "is tried to learn the demand",
    ProposalReason.CLEARANCE: "is expected to bring the most for the stock until the date",
}


def _explanation(currency: str, amount: Decimal, evidence: Evidence, reason: ProposalReason) -> str:
    effect = evidence.elasticity
    what = "revenue" if evidence.profit is None else "margin"
    result = evidence.revenue if evidence.profit is None else evidence.profit
    at_list = evidence.revenue_at_list if evidence.profit_at_list is None else evidence.profit_at_list
    return (
        f"{Money(currency, amount)} {_WHY[reason]}: 1 % more of price changes demand by {effect.mean:.1f} % (90 % "
        f"interval {effect.low:.1f} to {effect.high:.1f}). Expected: {evidence.units:.1f} pieces and a {what} of "
        f"{result:.2f}; at the list price {evidence.units_at_list:.1f} pieces and {at_list:.2f}."
    )
