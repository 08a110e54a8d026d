"""A campaign as auctions and billing use it. All amounts are whole minor units of the tenant's currency of campaigns.

Control checks campaigns before it publishes them (services/control/domain/contents.py); here they are only used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from services.common.daily_window import zone_of
from services.common.merchandising import QueryCondition, Trigger, Validity

_DEFAULT_ZONE = "UTC"


@dataclass(frozen=True)
class Campaign:
    """`bid` is for one click. `total_budget` None: no bound but the daily one."""

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

    @cached_property
    def zone(self) -> ZoneInfo:
        return zone_of(self.schedule.time_zone or _DEFAULT_ZONE) or ZoneInfo(_DEFAULT_ZONE)

    def day_of(self, at_s: float) -> date:
        """The day whose budget pays for an ad that is shown at this time, in seconds since 1970."""
        return datetime.fromtimestamp(at_s, self.zone).date()
