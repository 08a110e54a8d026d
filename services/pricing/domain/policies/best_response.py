"""Best response to observed competitors: contextual Thompson sampling that knows the competitor's price of the period.

The demand has learned from past periods how a competitor's price moves it, and how much more sensitive shoppers are to
a price above it. So the price with the best result depends on what the competitor asks today. Without an observation it
is the price of contextual Thompson sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.pricing.domain.demand.model import DemandModel
from services.pricing.domain.policies.choice import Ladder
from services.pricing.domain.policies.port import Guard, Objective, Situation
from services.pricing.domain.policies.seeds import SeededNormals
from services.pricing.domain.policies.thompson import ThompsonPolicy
from services.pricing.domain.pricing import ProposedPrice


class BestResponsePolicy:
    """`exploration`: see ThompsonPolicy."""

    def __init__(
        self, model: DemandModel, normals: SeededNormals, objective: Objective = Objective.MARGIN,
        ladder: Ladder = Ladder(), exploration: float = 1.0,  # noqa: B008
    ) -> None:  # fmt: skip
        self._sampling = ThompsonPolicy(
            model, normals, objective, ladder, exploration, is_contextual=True, sees_competitor=True
        )

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[ProposedPrice]:
        made = self._sampling.propose(situations, guard)
        return [_named(proposed, situation) for proposed, situation in zip(made, situations, strict=True)]


def _named(proposed: ProposedPrice, situation: Situation) -> ProposedPrice:
    observed = situation.item.competitor
    is_used = observed is not None and observed.currency == situation.item.list_price.currency
    if not is_used or not situation.competitor or proposed.evidence is None:
        return proposed
    share = situation.competitor
    usual = "its usual price" if abs(share - 1) < 0.005 else f"{share:.0%} of what it usually is"
    return replace(proposed, explanation=f"A competitor asks {observed}, {usual}. {proposed.explanation}")
