"""What a replica may spend at this moment: the pacing of each campaign, and a lease of its budget.

`turn` does what blocks, in a thread of its own: it reads the ledger and renews leases. Requests only look at what it
has prepared. A campaign that is asked for the first time takes part after the next turn.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from services.sponsored.accounts import Accounts
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.leases import Lease, LeaseRules
from services.sponsored.domain.pacing import (
    INTERVAL_S,
    INTERVALS_A_DAY,
    INTERVALS_AN_HOUR,
    Pacer,
    PacingRules,
    TrafficForecast,
)
from services.sponsored.ports import LeaseRequest, Ledger

# Days that a forecast looks back.
_FORECAST_DAYS = 7
# A campaign that nobody has asked for so long gives its lease back.
_IDLE_S = 60.0
# The ledger's facts are read again after so much time. Leases wait longer for clicks.
_READ_S = 15.0


@dataclass
class _Spending:
    """Of one campaign on one day, which begins at `begins_s`. Amounts in minor units."""

    campaign: Campaign
    begins_s: float
    pacer: Pacer
    forecast: TrafficForecast
    lease: Lease = field(default_factory=lambda: Lease(None, 0.0, 0.0))
    interval: int = 0
    # What was spent when the present interval, and the present hour, began.
    at_interval: int = 0
    at_hour: int = 0


@dataclass(frozen=True)
class _Known:
    """What the ledger had at `read_s`, by campaign: `spent` by day, of days that are not final; `paid` for final ones;
    `returns`: see Accounts.returns.
    """

    read_s: float
    spent: Mapping[str, Mapping[date, int]]
    paid: Mapping[str, int]
    returns: Mapping[str, tuple[int, int]]


class Budgets:
    """`clock` gives seconds since 1970. `turn` may be called from another thread than the rest."""

    def __init__(
        self, ledger: Ledger, accounts: Accounts, pacing: PacingRules, leases: LeaseRules, replica_id: str,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._ledger, self._accounts, self._pacing, self._leases = ledger, accounts, pacing, leases
        self._replica_id, self._clock = replica_id, clock
        self._asked: dict[tuple[str, str], tuple[Campaign, float]] = {}
        self._spending: dict[tuple[str, str], _Spending] = {}
        self._known: dict[str, _Known] = {}
        self._requests: Counter[tuple[str, int]] = Counter()

    def count(self, tenant: str) -> None:
        """A request that ads were selected for."""
        self._requests[tenant, int(self._clock() // INTERVAL_S)] += 1

    def multiplier_of(self, tenant: str, campaign: Campaign) -> float:
        """Of its bids; 0 if it may not spend at this moment."""
        now_s, key = self._clock(), (tenant, campaign.id)
        self._asked[key] = campaign, now_s
        spending = self._spending.get(key)
        if spending is None or now_s >= spending.lease.until_s or spending.lease.used >= spending.lease.amount:
            return 0.0
        return spending.pacer.multiplier

    def take(self, tenant: str, campaign_id: str, expected_cost: float) -> bool:
        """Whether the lease pays for an ad of this expected cost; if so, it is taken."""
        spending = self._spending.get((tenant, campaign_id))
        return spending is not None and spending.lease.take(expected_cost, self._clock())

    def turn(self) -> None:
        """Blocks. Called again before leases end."""
        now_s = self._clock()
        counted, self._requests = self._requests, Counter()
        for (tenant, interval), requests in counted.items():
            self._ledger.add_requests(tenant, interval, requests)
        asked: dict[str, list[Campaign]] = defaultdict(list)
        for (tenant, id), (campaign, asked_s) in list(self._asked.items()):
            if asked_s >= now_s - _IDLE_S:
                asked[tenant].append(campaign)
            else:
                self._asked.pop((tenant, id), None)
                self._spending.pop((tenant, id), None)
        for tenant, campaigns in asked.items():
            known = self._known.get(tenant)
            if known is None or now_s >= known.read_s + _READ_S:
                known = self._known[tenant] = self._read(tenant, campaigns, now_s)
            for campaign in campaigns:
                self._renew(tenant, campaign, known, now_s)

    def _read(self, tenant: str, campaigns: Iterable[Campaign], now_s: float) -> _Known:
        spent: dict[str, dict[date, int]] = defaultdict(dict)
        for (id, day), value in self._accounts.spent(tenant).items():
            spent[id][day] = value
        has_target = any(campaign.target_return is not None for campaign in campaigns)
        returns = self._accounts.returns(tenant) if has_target else {}
        return _Known(now_s, spent, self._ledger.paid(tenant), returns)

    def _renew(self, tenant: str, campaign: Campaign, known: _Known, now_s: float) -> None:
        day, spent = campaign.day_of(now_s), known.spent.get(campaign.id, {})
        today = spent.get(day, 0)
        spending = self._spending_of(tenant, campaign, today, now_s)
        interval = min(INTERVALS_A_DAY - 1, int((now_s - spending.begins_s) // INTERVAL_S))
        hour = interval - interval % INTERVALS_AN_HOUR
        if interval != spending.interval:
            spending.pacer.step(spending.interval, spending.at_interval, today - spending.at_interval)
            if campaign.target_return is not None:
                spending.pacer.step_return(campaign.target_return, *known.returns.get(campaign.id, (0, 0)))
            if hour > spending.interval:
                spending.at_hour = today
            spending.interval, spending.at_interval = interval, today
        first = int(spending.begins_s // INTERVAL_S) + hour
        seen = sum(self._ledger.requests(tenant, first, INTERVALS_AN_HOUR))
        limit = min(campaign.daily_budget, spending.at_hour + spending.pacer.limit(seen, spending.forecast.requests))
        if campaign.total_budget is not None:
            earlier = sum(min(value, campaign.daily_budget) for on, value in spent.items() if on < day)
            limit = min(limit, campaign.total_budget - known.paid.get(campaign.id, 0) - earlier)
        request = LeaseRequest(
            tenant, campaign.id, self._replica_id, spending.lease.used, limit, today, campaign.bid, now_s
        )
        spending.lease = self._ledger.lease(request, self._leases)

    def _spending_of(self, tenant: str, campaign: Campaign, today: int, now_s: float) -> _Spending:
        """That of the present day and budget; a new day begins with the multiplier of the day before."""
        key = tenant, campaign.id
        midnight = datetime.combine(campaign.day_of(now_s), time(), campaign.zone)
        begins_s, before = midnight.timestamp(), self._spending.get(key)
        if before is not None and before.begins_s == begins_s and before.campaign == campaign:
            return before
        forecast = TrafficForecast(self._pacing.smoothing)
        for days in range(_FORECAST_DAYS, 0, -1):
            first = int((midnight - timedelta(days=days)).timestamp() // INTERVAL_S)
            forecast.add_day(self._ledger.requests(tenant, first, INTERVALS_A_DAY))
        pacer = Pacer(
            campaign.daily_budget, forecast.shares, self._pacing, *([before.pacer.multiplier] if before else [])
        )
        interval = min(INTERVALS_A_DAY - 1, int((now_s - begins_s) // INTERVAL_S))
        made = _Spending(campaign, begins_s, pacer, forecast, interval=interval, at_interval=today, at_hour=today)
        if before is not None:
            made.lease = before.lease
        self._spending[key] = made
        return made
