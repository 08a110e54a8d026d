"""The price policies of a tenant: for each product one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from services.common.experiment import Experiment
from services.common.product import category_ancestry
from services.pricing.domain.guardrails import NO_PAST, Guardrails, Past, offer
from services.pricing.domain.pricing import PricedItem, Pricer, ProposedPrice


@dataclass(frozen=True)
class Policy:
    """`id` is empty for the configured one. `name`: of what proposes prices. `period_s`: seconds of a period; 0: none.
    `review_above`: a change by a larger share waits for a decision; None: nothing waits. `switchbacks`: experiments
    whose control arm it is, of which one runs at a time. `arm`: (experiment, arm) of a policy that `in_force` gave.
    """

    id: str
    name: str
    pricer: Pricer
    rails: Guardrails
    period_s: int = 0
    review_above: Decimal | None = None
    switchbacks: Sequence[Switchback] = ()
    arm: tuple[str, str] | None = None

    def proposed(self, item: PricedItem, now_s: float, past: Past = NO_PAST) -> ProposedPrice:
        """What the pricer proposes, before the guardrails."""
        return self.pricer(item, now_s, lambda item, proposed: offer(item, proposed, self.rails, past, now_s))

    def in_force(self, product_id: str, price_list_id: str, now_s: float) -> Policy:
        """For a product, price list and time: that of the experiment's arm while one runs, otherwise this one."""
        running = next((one for one in self.switchbacks if one.is_running(now_s)), None)
        return self if running is None else running.policy_of(self, product_id, price_list_id, now_s)

    def period(self, now_s: float) -> int | None:
        """The number of the period; None without periods."""
        return int(now_s // self.period_s) if self.period_s else None


@dataclass(frozen=True)
class Switchback:
    """An experiment of two policies by product, price list and block of days. `policies` by the name of the arm."""

    id: str
    experiment: Experiment
    policies: Mapping[str, Policy]

    def is_running(self, now_s: float) -> bool:
        starts, ends = self.experiment.starts_at, self.experiment.ends_at
        return (starts is None or starts.timestamp() <= now_s) and (ends is None or now_s < ends.timestamp())

    def policy_of(self, usual: Policy, product_id: str, price_list_id: str, now_s: float) -> Policy:
        """`usual` where the product is in no arm."""
        block = self.experiment.block_of(now_s)
        arm = self.experiment.price_arm(self.id, product_id, price_list_id, block)
        return usual if arm is None else replace(self.policies[arm.name], arm=(self.id, arm.name))


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
