"""What a replica may spend at this moment: the pacing of each campaign, and a lease of its budget.

`turn` does what blocks, in a thread of its own: it renews leases. Requests only look at what it has prepared. A
campaign that is asked for the first time takes part after the next turn. While leases cannot be renewed they end, one
after the other, and the pages are organic.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta

import structlog

from services.common.errors import Unavailable
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.leases import Lease
from services.sponsored.domain.pacing import (
    INTERVAL_S,
    INTERVALS_A_DAY,
    INTERVALS_AN_HOUR,
    Pacer,
    PacingRules,
    TrafficForecast,
)
from services.sponsored.ports import AskedLease, BudgetOwner, LeasedBudget

# Days that a forecast looks back. Days of other time zones begin up to 14 hours earlier.
_FORECAST_DAYS = 7
_HISTORY = (_FORECAST_DAYS + 2) * INTERVALS_A_DAY
# Counts of other replicas come late: so many intervals before the last call are read again.
_LATE = 2 * INTERVALS_AN_HOUR
# A campaign that nobody has asked for so long gets no new lease. What was used of it is forgotten after five days:
# control waits up to four for the bills of its last lease, and must not hear of 0 before.
_IDLE_S, _FORGOTTEN_S = 60.0, 5 * 86_400.0
# A lease is renewed when so much of its time or of its amount is left.
_RENEWED = 0.5

_log = structlog.get_logger("kairos.sponsored.budgets")


@dataclass
class _Spending:
    """Of one campaign on one day, from `begins_s` to `ends_s`. `at_interval`: the value of the day's clicks, in minor
    units, when `interval` of the day began; None before the first answer.
    """

    campaign: Campaign
    begins_s: float
    ends_s: float
    pacer: Pacer
    forecast: TrafficForecast
    interval: int | None = None
    at_interval: int = 0

    def interval_at(self, now_s: float) -> int:
        return min(INTERVALS_A_DAY - 1, int((now_s - self.begins_s) // INTERVAL_S))

    def observe(self, budget: LeasedBudget, now_s: float) -> None:
        """Adapts the multiplier after each interval."""
        interval, value = self.interval_at(now_s), budget.value_on_day
        if interval == self.interval:
            return
        if self.interval is not None:
            self.pacer.step(self.interval, self.at_interval, value - self.at_interval)
            if self.campaign.target_return is not None:
                self.pacer.step_return(self.campaign.target_return, budget.sales_of_week, budget.value_of_week)
        self.interval, self.at_interval = interval, value


@dataclass
class _Held:
    """A lease, and when it is renewed: at `due_s`, or when more than `due_used` is used."""

    lease: Lease = field(default_factory=Lease)
    due_s: float = 0.0
    due_used: float = 0.0

    def is_due(self, now_s: float) -> bool:
        return now_s >= self.due_s or self.lease.used > self.due_used

    def renew(self, held: float, now_s: float, lease_s: float, ends_s: float) -> None:
        """A lease of one day pays for no ad of the next one, which begins at `ends_s`."""
        self.lease.held, self.lease.until_s = held, min(now_s + lease_s, ends_s)
        self.due_s = min(now_s + lease_s * _RENEWED, self.lease.until_s)
        self.due_used = self.lease.used + max(0.0, held - self.lease.used) * (1 - _RENEWED)


@dataclass
class _Tenant:
    """`asked`: campaigns with the time of the last request. `requests`: to this replica, by interval; `sent`: those
    that the owner has. `traffic`: of all replicas, by interval; it is complete up to `traffic_until`.
    """

    asked: dict[str, tuple[Campaign, float]] = field(default_factory=dict)
    held: dict[str, _Held] = field(default_factory=dict)
    spending: dict[str, _Spending] = field(default_factory=dict)
    requests: Counter[int] = field(default_factory=Counter)
    sent: dict[int, int] = field(default_factory=dict)
    traffic: dict[int, int] = field(default_factory=dict)
    traffic_until: int | None = None
    forecasts: dict[float, TrafficForecast] = field(default_factory=dict)


class Budgets:
    """`clock` gives seconds since 1970. `turn` may be called from another thread than the rest. `failures`: calls of
    the owner that failed.
    """

    def __init__(self, owner: BudgetOwner, pacing: PacingRules, clock: Callable[[], float]) -> None:
        self._owner, self._pacing, self._clock = owner, pacing, clock
        self._tenants: dict[str, _Tenant] = {}
        self.failures = 0
        self._problem = ""

    def count(self, tenant: str) -> None:
        """A request that ads were selected for."""
        self._tenant(tenant).requests[int(self._clock() // INTERVAL_S)] += 1

    def multiplier_of(self, tenant: str, campaign: Campaign) -> float:
        """Of its bids; 0 if it may not spend at this moment."""
        now_s, known = self._clock(), self._tenant(tenant)
        known.asked[campaign.id] = campaign, now_s
        spending, held = known.spending.get(campaign.id), known.held.get(campaign.id)
        if spending is None or held is None or not held.lease.may_take(now_s):
            return 0.0
        return spending.pacer.multiplier

    def take(self, tenant: str, campaign_id: str, expected_cost: float) -> bool:
        """Whether the lease pays for an ad of this expected cost; if so, it is taken."""
        held = self._tenant(tenant).held.get(campaign_id)
        return held is not None and held.lease.take(expected_cost, self._clock())

    def turn(self) -> float | None:
        """Blocks. Gives the seconds after which it should be called again; None: any."""
        shortest_s, problem = None, ""
        for id, tenant in list(self._tenants.items()):
            try:
                lease_s = self._turn_of(id, tenant)
            except Unavailable as error:
                # Control may refuse one tenant: the others get their leases.
                problem = str(error)
                if problem != self._problem:
                    _log.warning("leases of budgets are not renewed; pages become organic", tenant=id, error=problem)
                continue
            if lease_s is not None:
                shortest_s = min(lease_s / 4, shortest_s or lease_s)
        self.failures += bool(problem)
        self._problem = problem
        return shortest_s

    def _tenant(self, id: str) -> _Tenant:
        return self._tenants.setdefault(id, _Tenant())

    def _turn_of(self, id: str, tenant: _Tenant) -> float | None:
        """The seconds that leases have; None if there was nothing to ask."""
        now_s = self._clock()
        # Control takes no older counts.
        oldest = int(now_s // INTERVAL_S) - _HISTORY + INTERVALS_A_DAY
        for old in [interval for interval in _unsent(tenant) if interval < oldest]:
            del tenant.requests[old]
            tenant.sent.pop(old, None)
        if tenant.traffic_until is None and (tenant.asked or tenant.requests):
            # Forecasts need the past days.
            self._call(id, tenant, [], now_s)
        for campaign_id, held in list(tenant.held.items()):
            if now_s >= held.lease.until_s + _FORGOTTEN_S:
                tenant.held.pop(campaign_id), tenant.spending.pop(campaign_id, None)
        wanted = list[Campaign]()
        for campaign_id, (campaign, asked_s) in list(tenant.asked.items()):
            if asked_s < now_s - _IDLE_S:
                tenant.asked.pop(campaign_id, None)
            elif tenant.held.setdefault(campaign_id, _Held()).is_due(now_s):
                wanted.append(campaign)
        # What nobody else knows yet counts already.
        unsent = {interval: count - tenant.sent.get(interval, 0) for interval, count in _unsent(tenant).items()}
        asked = [self._asked(tenant, campaign, unsent, now_s) for campaign in wanted]
        if asked or unsent:
            return self._call(id, tenant, asked, now_s)
        return None

    def _call(self, id: str, tenant: _Tenant, asked: list[AskedLease], now_s: float) -> float:
        present, counted = int(now_s // INTERVAL_S), _unsent(tenant)
        since = present - _HISTORY if tenant.traffic_until is None else tenant.traffic_until - _LATE
        leased = self._owner.lease(id, asked, counted, since)
        tenant.sent |= counted
        tenant.traffic |= leased.traffic
        tenant.traffic_until = present
        for old in [interval for interval in tenant.sent if interval < present]:
            # Nothing is added to it any more.
            if tenant.sent.pop(old) == tenant.requests[old]:
                del tenant.requests[old]
        for old in [interval for interval in tenant.traffic if interval < present - _HISTORY]:
            del tenant.traffic[old]
        for one in asked:
            budget = leased.budgets.get(one.campaign_id)
            if budget is None:
                # It is published no more. What it holds ends by itself.
                continue
            spending = tenant.spending[one.campaign_id]
            tenant.held[one.campaign_id].renew(budget.held, now_s, leased.lease_s, spending.ends_s)
            spending.observe(budget, now_s)
        return leased.lease_s

    def _asked(self, tenant: _Tenant, campaign: Campaign, unsent: Mapping[int, int], now_s: float) -> AskedLease:
        spending, lease = self._spending_of(tenant, campaign, now_s), tenant.held[campaign.id].lease
        interval = spending.interval_at(now_s)
        first = int(spending.begins_s // INTERVAL_S) + interval - interval % INTERVALS_AN_HOUR
        seen = sum(_traffic(tenant, first, INTERVALS_AN_HOUR))
        seen += sum(count for interval, count in unsent.items() if interval >= first)
        return AskedLease(
            campaign.id, campaign.day_of(now_s), lease.used, lease.held, campaign.daily_budget,
            spending.pacer.limit(seen, spending.forecast.requests), first, campaign.total_budget, campaign.bid,
        )  # fmt: skip

    def _spending_of(self, tenant: _Tenant, campaign: Campaign, now_s: float) -> _Spending:
        """That of the present day and budget; a new day begins with the multiplier of the day before."""
        day = campaign.day_of(now_s)
        midnight, next_midnight = (
            datetime.combine(each, time(), campaign.zone) for each in (day, day + timedelta(days=1))
        )
        begins_s, before = midnight.timestamp(), tenant.spending.get(campaign.id)
        if before is not None and before.begins_s == begins_s and before.campaign == campaign:
            return before
        forecast = self._forecast(tenant, midnight)
        pacer = Pacer(
            campaign.daily_budget, forecast.shares, self._pacing, *([before.pacer.multiplier] if before else [])
        )
        made = tenant.spending[campaign.id] = _Spending(campaign, begins_s, next_midnight.timestamp(), pacer, forecast)
        return made

    def _forecast(self, tenant: _Tenant, midnight: datetime) -> TrafficForecast:
        """Of the day that begins then: the same for all campaigns of a time zone."""
        begins_s = midnight.timestamp()
        if begins_s not in tenant.forecasts:
            tenant.forecasts = {
                other_s: known for other_s, known in tenant.forecasts.items() if other_s > begins_s - 2 * 86_400
            }
            forecast = tenant.forecasts[begins_s] = TrafficForecast(self._pacing.smoothing)
            for days in range(_FORECAST_DAYS, 0, -1):
                first = int((midnight - timedelta(days=days)).timestamp() // INTERVAL_S)
                forecast.add_day(_traffic(tenant, first, INTERVALS_A_DAY))
        return tenant.forecasts[begins_s]


def _traffic(tenant: _Tenant, first: int, count: int) -> list[int]:
    return [tenant.traffic.get(interval, 0) for interval in range(first, first + count)]


def _unsent(tenant: _Tenant) -> dict[int, int]:
    return {
        interval: requests for interval, requests in _copied(tenant.requests) if tenant.sent.get(interval) != requests
    }


def _copied(requests: Counter[int]) -> Iterable[tuple[int, int]]:
    """At one moment: another thread counts."""
    return list(requests.items())
