"""A campaign as auctions and billing use it. All amounts are whole minor units of the tenant's currency of campaigns.

Control checks campaigns before it publishes them (services/control/domain/contents.py); here they are only used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from services.common.daily_window import zone_of
from services.common.merchandising import QueryCondition, Trigger, Validity
from services.sponsored.domain.facts import Impression

_DEFAULT_ZONE = "UTC"


@dataclass(frozen=True)
class BudgetChange:
    """The daily budget from a day on. `greatest`: of that day itself, on which there may have been several."""

    day: date
    greatest: int
    last: int


@dataclass(frozen=True)
class Campaign:
    """`bid` is for one click. `total_budget` None: no bound but the daily one. `changes`: of the daily budget, the
    oldest first, as far as they are known.
    """

    id: str
    advertiser: str
    payer: str
    product_ids: tuple[str, ...]
    currency: str
    bid: int
    daily_budget: int
    total_budget: int | None = None
    targets: Trigger = field(default=Trigger(), repr=False)
    negative_keywords: tuple[QueryCondition, ...] = field(default=(), repr=False)
    schedule: Validity = field(default=Validity())
    own_person_ids: frozenset[str] = field(default=frozenset(), repr=False)
    target_return: float | None = None
    changes: tuple[BudgetChange, ...] = field(default=(), repr=False)

    @cached_property
    def zone(self) -> ZoneInfo:
        return zone_of(self.schedule.time_zone or _DEFAULT_ZONE) or ZoneInfo(_DEFAULT_ZONE)

    def day_of(self, at_s: float) -> date:
        """The day whose budget pays for an ad that is shown at this time, in seconds since 1970."""
        return datetime.fromtimestamp(at_s, self.zone).date()

    def budget_of(self, day: date) -> int:
        """What the day may cost: a budget that is changed later says nothing about it."""
        for change in reversed(self.changes):
            if change.day <= day:
                return change.greatest if change.day == day else change.last
        return self.changes[0].greatest if self.changes else self.daily_budget


def campaign_of(impression: Impression, campaigns: Mapping[str, Campaign]) -> Campaign | None:
    """None if it is not known, or has another currency than the ad was sold in."""
    found = campaigns.get(impression.campaign_id)
    return found if found is not None and found.currency == impression.currency else None
