"""What a policy is given and what it proposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Protocol

from services.common.errors import InvalidArgument
from services.pricing.domain.demand.forecast import Elasticity
from services.pricing.domain.pricing import Guard as Guard
from services.pricing.domain.pricing import PricedItem


class Objective(Enum):
    """What a policy maximises in a period. MARGIN: (price - cost) · pieces; REVENUE where the cost is not known.
    SELL_THROUGH: the share of the stock that is sold until `days_to_clear`, at the highest price that sells it; MARGIN
    where there is no such date or stock, and for a policy that does not look at the stock.
    """

    REVENUE = "revenue"
    MARGIN = "margin"
    UNITS = "units"
    SELL_THROUGH = "sell_through"


class ProposalReason(Enum):
    """Why a price is proposed. EXPLORATION: another price is expected to be better, and this one is tried to learn."""

    LIST_PRICE = "list_price"
    OVERSTOCK = "overstock"
    AGED = "aged"
    DEMAND = "demand"
    EXPLORATION = "exploration"
    CLEARANCE = "clearance"


@dataclass(frozen=True)
class Situation:
    """A product in a price list (`item`) at the start of a period.

    `period`: number of the period. `period_days`: its length. `days_to_clear`: until the stock must be sold; None:
    never. `competitor` is for policies that answer to it. The others as in demand.observations.Observations.
    """

    item: PricedItem
    period: int
    now_s: float
    period_days: float = 1.0
    days_to_clear: float | None = None
    exposure: float = 1.0
    promotion: float = 0.0
    season: float = 0.0
    age_years: float = 0.0
    substitutes: float = 1.0
    competitor: float = 0.0

    def __post_init__(self) -> None:
        path = f"situations[{self.item.item_id!r}]"
        if not 0 < self.period_days < math.inf:
            raise InvalidArgument.of(f"{path}.period_days", f"is {self.period_days}; give a positive number")
        if self.days_to_clear is not None and not 0 <= self.days_to_clear < math.inf:
            raise InvalidArgument.of(f"{path}.days_to_clear", f"is {self.days_to_clear}; give 0 or more, or None")


@dataclass(frozen=True)
class Evidence:
    """What is expected for the period at the proposed price and at the list price. `units` in pieces; `profit` in the
    currency of the item, None if the cost is not known.
    """

    elasticity: Elasticity
    units: float
    units_at_list: float
    revenue: float
    revenue_at_list: float
    profit: float | None
    profit_at_list: float | None


@dataclass(frozen=True)
class Proposal:
    """`evidence`: None where the policy uses no demand model, or the model does not know the product."""

    amount: Decimal
    reason: ProposalReason
    explanation: str
    evidence: Evidence | None = None


class ProposingPolicy(Protocol):
    """Proposes the prices of a period: the same for the same arguments and the same knowledge, in every process."""

    @property
    def name(self) -> str:
        """As in a shop's configuration, for example "greedy"."""

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[Proposal]:
        """A proposal for each situation, in their order. A policy that optimises stays between the floor and the
        ceiling of `guard`; the caller passes every proposal through `guard` again.
        """
