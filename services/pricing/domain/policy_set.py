"""The price policies of a tenant: for each product one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from services.common.product import category_ancestry
from services.pricing.domain.guardrails import NO_PAST, Guardrails, Past, offer
from services.pricing.domain.pricing import PricedItem, Pricer, ProposedPrice


@dataclass(frozen=True)
class Policy:
    """`id` is empty for the configured one. `name`: of what proposes prices. `period_s`: seconds of a period; 0: none.
    `review_above`: a change by a larger share waits for a decision; None: nothing waits.
    """

    id: str
    name: str
    pricer: Pricer
    rails: Guardrails
    period_s: int = 0
    review_above: Decimal | None = None

    def proposed(self, item: PricedItem, now_s: float, past: Past = NO_PAST) -> ProposedPrice:
        """What the pricer proposes, before the guardrails."""
        return self.pricer(item, now_s, lambda item, proposed: offer(item, proposed, self.rails, past, now_s))

    def period(self, now_s: float) -> int | None:
        """The number of the period; None without periods."""
        return int(now_s // self.period_s) if self.period_s else None


@dataclass(frozen=True)
class PolicySet:
    """`default` applies to products that no category in `by_category` has. `version`: other policies have another one.

    `is_list_price_only`: computed prices are switched off.
    """

    default: Policy
    version: str
    by_category: Mapping[str, Policy] = field(default_factory=dict)
    is_list_price_only: bool = False

    def of(self, category_path: Sequence[str]) -> Policy:
        """The nearest category decides: "Shoes > Boots" before "Shoes"."""
        if self.by_category:
            for category in reversed(category_ancestry(tuple(category_path))):
                if (found := self.by_category.get(category)) is not None:
                    return found
        return self.default
