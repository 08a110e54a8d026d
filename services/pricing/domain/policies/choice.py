"""The price of a ladder with the best expected result, between the floor and the ceiling of the guardrails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from services.common.errors import InvalidArgument
from services.common.money import MINOR_UNIT_DECIMALS, Money
from services.pricing.domain.demand.forecast import DemandCurve, Forecast
from services.pricing.domain.demand.model import DemandModel
from services.pricing.domain.demand.observations import Floats, Ints, Observations
from services.pricing.domain.policies.port import Evidence, Guard, Measure, Objective, Situation
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
    demand: Demand = expected_demand, uses_stock: bool = False, reason: PriceReason = PriceReason.DEMAND,
    sees_competitor: bool = False,
) -> list[ProposedPrice]:  # fmt: skip
    """Where `demand` chooses another price than expected demand does, the reason is EXPLORATION.

    `uses_stock`: no more is sold than is in stock. `sees_competitor`: the demand is that at the competitor's price of
    the situation; otherwise at its usual price.
    """
    if not sees_competitor:
        situations = [replace(each, competitor=1.0 if each.competitor else 0.0) for each in situations]
    is_known = _known(model, situations)
    known = [each for each, is_one in zip(situations, is_known, strict=True) if is_one]
    made = iter(_choose(model, known, guard, objective, ladder, demand, uses_stock, reason) if known else ())
    unknown = "The list price applies: nothing is known of the demand for this product."
    return [
        next(made) if is_one else at_list_price(each, unknown)
        for each, is_one in zip(situations, is_known, strict=True)
    ]


def at_list_price(situation: Situation, explanation: str) -> ProposedPrice:
    return ProposedPrice(situation.item.list_price.amount, PriceReason.LIST_PRICE, explanation)


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
    demand: Demand, uses_stock: bool, reason: PriceReason,
) -> list[ProposedPrice]:  # fmt: skip
    forecast = model.forecast(_rows(model, situations))
    bounded, free = candidates(situations, guard, ladder), unbounded(situations, ladder)
    units = demand(forecast, situations, np.hstack([bounded, free]))
    chosen = _best(objective, situations, bounded, units[:, : ladder.steps], uses_stock)
    wanted = _best(objective, situations, free, units[:, ladder.steps :], uses_stock)
    best = chosen
    if demand is not expected_demand:
        best = _best(objective, situations, bounded, forecast.units(bounded), uses_stock)
    proposals = []
    for row, (situation, curve) in enumerate(zip(situations, forecast.curves(), strict=True)):
        price, best_price, wanted_price = (
            _amount(situation, float(prices[row, of[row]]))
            for prices, of in ((bounded, chosen), (bounded, best), (free, wanted))
        )
        why = reason if price == best_price else PriceReason.EXPLORATION
        evidence = _evidence(situation, curve, objective, uses_stock, best_price, wanted_price)
        proposals.append(ProposedPrice(price, why, _explanation(situation, price, evidence, why), evidence))
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
    floor = np.array([[float(made.floor.amount)] for made in offers])
    ceiling = np.array([[float(made.ceiling.amount)] for made in offers])
    return np.asarray(np.clip(unbounded(situations, ladder), floor, ceiling))


def unbounded(situations: Sequence[Situation], ladder: Ladder) -> Floats:
    """[situations, steps]: the ladder in whole minor units, at least one."""
    prices = np.array([[float(each.item.list_price.amount)] for each in situations]) * ladder.relative()
    scale = np.array([[10.0 ** MINOR_UNIT_DECIMALS[each.item.list_price.currency]] for each in situations])
    return np.asarray(np.maximum(np.round(prices * scale), 1) / scale)


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


def _amount(situation: Situation, price: float) -> Decimal:
    return Decimal(f"{price:.{MINOR_UNIT_DECIMALS[situation.item.list_price.currency]}f}")


def _evidence(
    situation: Situation, curve: DemandCurve, objective: Objective, uses_stock: bool, best: Decimal, wanted: Decimal
) -> Evidence:  # fmt: skip
    """Measured as `_best` does it, without the bound of the stock."""
    is_dated = uses_stock and situation.days_to_clear is not None
    cost = None if is_dated or situation.item.cost is None else situation.item.cost.amount
    measure = Measure.REVENUE if cost is None else Measure.PROFIT
    if objective is Objective.REVENUE:
        measure = Measure.REVENUE
    elif objective is Objective.UNITS or (objective is Objective.SELL_THROUGH and is_dated):
        measure = Measure.UNITS
    return Evidence(curve, measure, cost, best, wanted, situation.period_days)


_WHY = {
    PriceReason.DEMAND: "is expected to bring the best result",
    PriceReason.EXPLORATION: "is tried to learn the demand",
    PriceReason.CLEARANCE: "is expected to bring the most for the stock until the date",
}


def _explanation(situation: Situation, price: Decimal, evidence: Evidence, reason: PriceReason) -> str:
    effect, listed = evidence.curve.elasticity, situation.item.list_price.amount
    result, at_list = (
        "" if evidence.measure is Measure.UNITS else f" and a {evidence.measure.value} of {each.mean:.2f}"
        for each in (evidence.result_a_day(price), evidence.result_a_day(listed))
    )
    return (
        f"{Money(situation.item.list_price.currency, price)} {_WHY[reason]}: 1 % more of price changes demand by "
        f"{effect.mean:.1f} % (90 % interval {effect.low:.1f} to {effect.high:.1f}). Expected a day: "
        f"{evidence.units_a_day(price).mean:.1f} pieces{result}; at the list price "
        f"{evidence.units_a_day(listed).mean:.1f} pieces{at_list}."
    )
