"""The baseline: the list price."""

from __future__ import annotations

from collections.abc import Sequence

from services.pricing.domain.policies.port import Guard, Proposal, ProposalReason, Situation


class ListPricePolicy:
    name = "list-price"

    def propose(self, situations: Sequence[Situation], guard: Guard) -> list[Proposal]:
        return [at_list_price(situation, "The list price applies.") for situation in situations]


def at_list_price(situation: Situation, explanation: str) -> Proposal:
    return Proposal(situation.item.list_price.amount, ProposalReason.LIST_PRICE, explanation)
