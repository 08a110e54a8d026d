"""What was decided about a price, for the record: so that each price can be explained later."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from services.common.money import Money
from services.pricing.domain.evidence import Evidence
from services.pricing.domain.guardrails import Guardrail
from services.pricing.domain.pricing import PricedItem, PriceReason

# Hexadecimal digits of an id, of which the first half names the content.
_DIGITS = 40
_DAY_S = 86_400


class Review(Enum):
    """What a person has said to a change of a price. REJECTED: a similar price, which bounds this one."""

    NOT_ASKED = "not_asked"
    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Proposed:
    """What was proposed before the guardrails, and what they allowed."""

    price: Decimal
    reason: PriceReason
    evidence: Evidence | None
    floor: Money
    ceiling: Money


@dataclass(frozen=True)
class PriceDecision:
    """What `item` costs from `decided_s` on, while the shop asks `base` (PriceDecision in audit.proto). `proposed` is
    None if nothing was computed. Times in seconds since the epoch; `until_s` is infinite if only a change ends it.
    `period`: in which it was computed; None without periods.
    """

    item: PricedItem
    base: Money
    price: Money
    before: Money
    explanation: str
    policy_id: str
    policy_name: str
    decided_s: float
    until_s: float
    proposed: Proposed | None = None
    guardrail: int = Guardrail.NONE
    period: int | None = None
    review: Review = Review.NOT_ASKED
    review_id: str = ""
    decision_id: str = ""
    # (experiment, arm).
    experiment_arm: tuple[str, str] | None = None

    @property
    def is_of_the_shop(self) -> bool:
        """Whether the shop's price applies and no knowledge of demand or guardrail has led to it."""
        made = self.proposed
        is_plain = made is None or (made.evidence is None and made.price == self.base.amount)
        return is_plain and self.price == self.base and self.review is Review.NOT_ASKED

    def id_after(self, last_id: str) -> str:
        """The same at each repetition; `last_id` itself for a decision that says what the last one said."""
        period = None if self.is_of_the_shop else self.period
        made = self.proposed and (self.proposed.price, self.proposed.reason.value)
        content = _digest(
            self.item.item_id, self.item.price_list_id, self.base, self.price, made, self.guardrail, self.policy_id,
            self.policy_name, period, self.review, self.review_id,
        )[: _DIGITS // 2]  # fmt: skip
        if last_id.startswith(content):
            return last_id
        return content + _digest(content, last_id, int(self.decided_s // _DAY_S))[: _DIGITS // 2]


def _digest(*parts: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
