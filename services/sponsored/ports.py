"""What sponsored needs from outside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from services.sponsored.domain.billing import DailyBill
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.facts import Fact, Facts


@dataclass(frozen=True)
class LedgerSize:
    """`facts`: impressions, clicks, purchases and refunds."""

    facts: int
    bills: int
    bytes: int


@dataclass(frozen=True)
class LogPlace:
    """Up to which a log was read. Empty: from its start. `read_up_to_s`: the time of the last record."""

    page_token: str = ""
    read_up_to_s: float = 0.0


@dataclass(frozen=True)
class AskedLease:
    """Amounts in minor units. `used` and `held`: of the replica's lease. `day_limit` and `hour_limit`: what all
    replicas may use on the day, and in the hour that begins with the interval `hour_from`; `total_limit`: on all days.
    `least`: less is of no use.
    """

    campaign_id: str
    day: date
    used: float
    held: float
    day_limit: float
    hour_limit: float
    hour_from: int
    total_limit: float | None
    least: float


@dataclass(frozen=True)
class LeasedBudget:
    """Amounts in minor units. `held`: see Lease. `value_on_day`: of the clicks of the day; `value_of_week`: of billed
    clicks of the last seven days, with the sales after them.
    """

    held: float
    value_on_day: int
    value_of_week: int
    sales_of_week: int


@dataclass(frozen=True)
class Leased:
    """By campaign, for `lease_s` seconds from the call on; none for a campaign that is not published. `traffic`:
    requests of all replicas by interval.
    """

    budgets: Mapping[str, LeasedBudget]
    lease_s: float
    traffic: Mapping[int, int]


class BudgetOwner(Protocol):
    """Who divides budgets among replicas, and keeps the traffic that all of them count."""

    def lease(
        self, tenant: str, asked: Sequence[AskedLease], counted: Mapping[int, int], traffic_from: int
    ) -> Leased:  # fmt: skip
        """Blocks. One call at a time. `counted`: all requests to this replica in intervals that have changed; the same
        again changes nothing. `traffic_from`: the first interval whose traffic is wanted. Raises Unavailable; then it
        is unknown whether the call was served, and the leases stay as they are.
        """

    def close(self) -> None: ...


class Ledger(Protocol):
    """The facts that bills are computed from, and the bills that are final, by tenant. All calls may block."""

    def person(self, id: str) -> str:
        """What facts name a user or visitor by: a digest with a secret of the ledger."""

    def record(self, tenant: str, facts: Iterable[Fact], log: str = "", place: LogPlace | None = None) -> None:
        """Each fact once, as Facts.add. With them the place up to which the log of this name was read: both are
        durable, or neither. Raises Overloaded if the disk is full.
        """

    def place(self, tenant: str, log: str) -> LogPlace: ...

    def days(self, tenant: str) -> dict[int, int]:
        """A number for each day (UTC, since 1970) of impressions, which changes with each fact of the day."""

    def trades_number(self, tenant: str) -> int:
        """It changes with each purchase or refund."""

    def facts(self, tenant: str, from_s: float, until_s: float) -> Facts:
        """Impressions of this time with all their clicks."""

    def trades(self, tenant: str, from_s: float) -> Facts:
        """Purchases and refunds from this time on."""

    def settled_until(self, tenant: str) -> date:
        """The last day whose bills are final; date.min if none are."""

    def settle(self, tenant: str, until: date, bills: Sequence[DailyBill]) -> None:
        """Makes bills of days until then final. A day that is final stays as it is."""

    def final_bills(self, tenant: str, from_day: date) -> list[DailyBill]:
        """From this day on, by campaign and day."""

    def paid(self, tenant: str) -> dict[str, int]:
        """What all final bills of a campaign add up to, also of those that were removed."""

    def keep_campaigns(self, tenant: str, campaigns: Iterable[Campaign], now_s: float) -> None:
        """Their terms of billing, for clicks that come when a campaign is archived, and changes of daily budgets."""

    def campaigns(self, tenant: str) -> dict[str, Campaign]:
        """Those that were kept, by id: without products, targets and schedule, but for the time zone. Their own persons
        are named as facts name them.
        """

    def keep_brands(self, tenant: str, brands: Mapping[str, str], now_s: float) -> None:
        """Of products; empty if there is none."""

    def brands(self, tenant: str) -> dict[str, str]:
        """Those that were kept, by product id."""

    def trim(self, facts_until_s: float, unknown_until_s: float, bills_until: date) -> int:
        """Removes facts before that time, campaigns and brands that were kept last before it, clicks without an
        impression before `unknown_until_s`, and final bills before that day. Gives the number of facts and bills.
        """

    def size(self) -> LedgerSize: ...

    def close(self) -> None: ...
