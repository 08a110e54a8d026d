"""What a policy that learns demand expects, for explanations and metrics."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from services.pricing.domain.demand.forecast import DemandCurve, Estimate


class Objective(Enum):
    """What a policy maximises in a period. MARGIN: (price - cost) · pieces; REVENUE where the cost is not known.
    SELL_THROUGH: the share of the stock that is sold until `days_to_clear`, at the highest price that sells it; MARGIN
    where there is no such date or stock, and for a policy that does not look at the stock.
    """

    REVENUE = "revenue"
    MARGIN = "margin"
    UNITS = "units"
    SELL_THROUGH = "sell_through"


class Measure(Enum):
    """How good a price is: (price - cost) · pieces, price · pieces, or pieces."""

    PROFIT = "profit"
    REVENUE = "revenue"
    UNITS = "units"


@dataclass(frozen=True)
class Evidence:
    """The demand of a period of `period_days` days as it was known. `cost` is None if it is not known or spent.

    `best`: the price of those that the guardrails allow from which the most is expected. `wanted`: the price that the
    policy would propose if no guardrail bounded it.
    """

    curve: DemandCurve
    measure: Measure
    cost: Decimal | None
    best: Decimal
    wanted: Decimal
    period_days: float = 1.0

    def units_a_day(self, price: Decimal) -> Estimate:
        """In pieces."""
        return self.curve.units(float(price)).times(1 / self.period_days)

    def result_a_day(self, price: Decimal) -> Estimate:
        """In pieces, otherwise in the currency of the price."""
        return self.units_a_day(price).times(self._a_piece(price))

    def result_ratio(self, price: Decimal, other: Decimal) -> Estimate | None:
        """The result at `price`, divided by that at `other`; None if nothing is earned there."""
        earned = self._a_piece(other)
        return (
            None if earned <= 0 else self.curve.ratio(float(price), float(other)).times(self._a_piece(price) / earned)
        )

    def _a_piece(self, price: Decimal) -> float:
        if self.measure is Measure.UNITS:
            return 1.0
        return float(price if self.measure is Measure.REVENUE else price - (self.cost or 0))
