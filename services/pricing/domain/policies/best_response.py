"""Best response to observed competitors: contextual Thompson sampling that knows the competitor's price of the period.

The demand has learned from past periods how a competitor's price moves it, and how much more sensitive shoppers are to
a price above it. So the price with the best result depends on what the competitor asks today. Without an observation it
is the price of contextual Thompson sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.pricing.domain.policies.choice import choose
from services.pricing.domain.policies.contextual_thompson import ContextualThompsonPolicy
from services.pricing.domain.policies.port import Guard, Proposal, Situation


class BestResponsePolicy(ContextualThompsonPolicy):
    name = "best-response"

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[Proposal]:
        made = choose(
            self._model, situations, guard, objective=self._objective, ladder=self._ladder, demand=self._drawn,
            uses_stock=True, sees_competitor=True,
        )  # fmt: skip
        return [_named(proposal, situation) for proposal, situation in zip(made, situations, strict=True)]


def _named(proposal: Proposal, situation: Situation) -> Proposal:
    observed = situation.item.competitor
    if observed is None or not situation.competitor or proposal.evidence is None:
        return proposal
    change = situation.competitor - 1
    usual = "its usual price" if abs(change) < 0.005 else f"{change:+.0%} of what it usually is"
    return replace(proposal, explanation=f"A competitor asks {observed}, {usual}. {proposal.explanation}")
