"""Price policies: how prices are computed and what bounds them. Fields and bounds: PricePolicy in control.proto.

The file of policies (docs/how-to/price-policies.md) has the same fields as control's message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.common.money import MAX_UNITS, MINOR_UNIT_DECIMALS, NANOS, Money
from services.common.product import MAX_CATEGORY_PATH

# What proposes prices: services/pricing/policies.py has one for each.
PolicyName = Literal["list-price", "rules", "greedy", "thompson", "contextual-thompson", "best-response", "clearance"]
# Those that learn the demand from the log.
LEARNED: tuple[PolicyName, ...] = ("greedy", "thompson", "contextual-thompson", "best-response", "clearance")
MAX_POLICIES = 100
MAX_POLICY_CATEGORIES = 50
PolicyId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Share = Annotated[Decimal, Field(ge=0, le=1)]
Growth = Annotated[Decimal, Field(ge=0, le=10)]
Change = Annotated[Decimal, Field(gt=0, le=10)]
Ending = Annotated[int, Field(ge=0, le=99)]
Category = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CATEGORY_PATH)]
_NEED_PERIOD = (
    "maximum_daily_change", "maximum_weekly_change", "monthly_discount_budget", "review_above", "price_war",
)  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Amount(_Part):
    """Not negative."""

    currency_code: str
    units: int = Field(default=0, ge=0, le=MAX_UNITS)
    nanos: int = Field(default=0, ge=0, lt=NANOS)

    @model_validator(mode="after")
    def _has_currency(self) -> Amount:
        if self.currency_code not in MINOR_UNIT_DECIMALS:
            raise ValueError(
                f"currency_code {self.currency_code[:8]!r} is unknown; send one of ISO 4217, such as 'USD'"
            )
        return self

    @property
    def money(self) -> Money:
        return Money.from_units(self.currency_code, self.units, self.nanos)


class PriceWar(_Part):
    """What ends a price war. 0 rounds: nothing does."""

    rounds: int = Field(default=3, ge=0, le=20)
    window_days: int = Field(default=14, ge=1, le=60)
    pause_days: int = Field(default=14, ge=1, le=60)
    step: Share = Decimal("0.05")


class PricePolicy(_Part):
    categories: tuple[Category, ...] = Field(default=(), max_length=MAX_POLICY_CATEGORIES)
    minimum_margin: Growth | None = None
    maximum_discount: Share | None = None
    maximum_increase: Growth | None = None
    maximum_daily_change: Change | None = None
    maximum_weekly_change: Change | None = None
    price_endings: tuple[Ending, ...] = Field(default=(), max_length=10)
    frozen_from: datetime | None = None
    frozen_until: datetime | None = None
    monthly_discount_budget: Amount | None = None
    policy: PolicyName | None = None
    objective: Literal["revenue", "margin", "units", "sell-through"] | None = None
    period_hours: int | None = Field(default=None, ge=1, le=168)
    review_above: Change | None = None
    list_price_only: bool = False
    clear_by: datetime | None = None
    price_war: PriceWar | None = None
    only_in_experiments: bool = False

    @model_validator(mode="after")
    def _is_sound(self) -> PricePolicy:
        given = self.model_dump(exclude_defaults=True).keys()
        if self.list_price_only and (more := sorted(given - {"list_price_only"})):
            raise ValueError(f"list_price_only is for all prices of the shop; leave out {more[0]}")
        if not given - {"categories", "only_in_experiments"}:
            raise ValueError("says nothing; set a guardrail such as maximum_discount, or policy")
        for name in ("categories", "price_endings"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} has a value twice; give it once")
        if self.policy not in LEARNED and (of_learned := [name for name in ("objective", "clear_by") if name in given]):
            raise ValueError(f"{of_learned[0]} needs a policy that learns demand, such as thompson; set policy to one")
        if self.policy in LEARNED and self.period_hours is None:
            raise ValueError(f"{self.policy} needs period_hours; set it, for example to 24")
        if self.period_hours is None and (needy := [name for name in _NEED_PERIOD if getattr(self, name) is not None]):
            raise ValueError(f"{needy[0]} needs period_hours; set it, for example to 24")
        return self

    @model_validator(mode="after")
    def _is_in_order(self) -> PricePolicy:
        daily, weekly = self.maximum_daily_change, self.maximum_weekly_change
        if daily is not None and weekly is not None and weekly < daily:
            raise ValueError("maximum_weekly_change is below maximum_daily_change; raise it, or leave the other out")
        if self.frozen_from and not self.frozen_until:
            raise ValueError("frozen_from needs frozen_until, at which prices may change again")
        if self.policy == "clearance" and self.clear_by is None:
            raise ValueError("clearance needs clear_by: until when the stock must be sold")
        for name in ("frozen_from", "frozen_until", "clear_by"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name} has no time zone; write it as 2026-12-01T00:00:00Z")
        if self.frozen_from and self.frozen_until and self.frozen_until <= self.frozen_from:
            raise ValueError("frozen_until is not later than frozen_from; swap them, or leave both out")
        budget = self.monthly_discount_budget
        if budget is not None and not budget.money.amount:
            raise ValueError("monthly_discount_budget is 0; set maximum_discount to 0 instead")
        return self


class PolicyFile(_Part):
    """A file of policies, by id."""

    policies: Mapping[PolicyId, PricePolicy] = Field(default_factory=dict, max_length=MAX_POLICIES)


def differences(one: PricePolicy, other: PricePolicy) -> list[str]:
    """The fields in which two policies differ that a switchback must not compare: all but what proposes prices."""
    values = (each.model_dump(exclude={"policy", "objective", "only_in_experiments"}) for each in (one, other))
    first, second = values
    return sorted(name for name in first if first[name] != second[name])


def policy_conflicts(policies: Mapping[str, PricePolicy]) -> Iterator[tuple[str, str]]:
    """(id, problem) of policies that would apply to the same products."""
    owners: dict[str, str] = {}
    for id, policy in sorted(policies.items()):
        if policy.list_price_only or policy.only_in_experiments:
            continue
        for category in policy.categories or ("",):
            if (other := owners.setdefault(category, id)) != id:
                named = f"has the category {category!r}, which the price policy {other!r} has too; remove it from one"
                every = f"has no categories, and the price policy {other!r} has none either; give one of them some"
                yield id, named if category else every
