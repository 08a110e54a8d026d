"""Clearance by a date: the price that brings the most for the stock until then. Other products keep the list price.

The cost is spent, so that only the revenue counts. As stock and date come nearer, each period's price is chosen anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.pricing.domain.demand.model import DemandModel
from services.pricing.domain.policies.choice import Ladder, at_list_price, choose
from services.pricing.domain.policies.port import Guard, Objective, Situation
from services.pricing.domain.pricing import PriceReason, ProposedPrice


class ClearancePolicy:
    """`objective`: MARGIN or REVENUE for the most money, SELL_THROUGH to sell all at the highest price that does."""

    def __init__(
        self, model: DemandModel, objective: Objective = Objective.MARGIN,
        ladder: Ladder = Ladder(0.3, 1.0, 71),  # noqa: B008
    ) -> None:  # fmt: skip
        self._model, self._objective, self._ladder = model, objective, ladder

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[ProposedPrice]:
        dated = [each for each in situations if _is_dated(each)]
        made = iter(
            choose(
                self._model, dated, guard, objective=self._objective, ladder=self._ladder, uses_stock=True,
                reason=PriceReason.CLEARANCE,
            )
        )  # fmt: skip
        no_date = "The list price applies: no stock must be sold until a date."
        return [next(made) if _is_dated(each) else at_list_price(each, no_date) for each in situations]


def _is_dated(situation: Situation) -> bool:
    return situation.days_to_clear is not None and situation.item.stock is not None
