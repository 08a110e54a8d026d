"""What a policy is given and what it proposes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from services.common.errors import InvalidArgument
from services.pricing.domain.evidence import Evidence as Evidence
from services.pricing.domain.evidence import Measure as Measure
from services.pricing.domain.evidence import Objective as Objective
from services.pricing.domain.pricing import Guard as Guard
from services.pricing.domain.pricing import PricedItem, ProposedPrice


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


class ProposingPolicy(Protocol):
    """Proposes the prices of a period: the same for the same arguments and the same knowledge, in every process."""

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[ProposedPrice]:
        """A proposal for each situation, in their order. A policy that optimises stays between the floor and the
        ceiling of `guard`; the caller passes every proposal through `guard` again.
        """
