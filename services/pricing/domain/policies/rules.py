"""Markdowns for overstock and age."""

from __future__ import annotations

from collections.abc import Sequence

from services.pricing.domain.policies.port import Guard, Proposal, ProposalReason, Situation
from services.pricing.domain.pricing import MarkdownRules


class RulesPolicy:
    name = "rules"

    def __init__(self, rules: MarkdownRules) -> None:
        self._rules = rules

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[Proposal]:
        made = [self._rules(situation.item, situation.now_s, guard) for situation in situations]
        return [Proposal(each.amount, ProposalReason(each.reason.value), each.explanation) for each in made]
