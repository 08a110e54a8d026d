"""An owner of budgets in memory: the leases are those of control, the bills are set by the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from services.common.errors import Unavailable
from services.control.domain.leases import AskedLease as Asked
from services.control.domain.leases import Billed, LeasePool, LeaseRules
from services.sponsored.ports import AskedLease, Leased, LeasedBudget

MILLION = 1_000_000


class SharedBudgets:
    """Of one tenant, with bills that are always complete. `billed`: by campaign, in minor units. `traffic`: by interval
    and replica. `is_down`: all calls fail; those of the tenants in `refused` always do.
    """

    def __init__(self, clock: Callable[[], float], rules: LeaseRules | None = None) -> None:
        self.clock, self.rules, self.is_down = clock, rules or LeaseRules(), False
        self.refused = set[str]()
        self.billed: dict[str, Billed] = {}
        self.traffic: dict[int, dict[str, int]] = {}
        self.pools: dict[str, LeasePool] = {}

    def bill(self, campaign_id: str, **amounts: int) -> None:
        """Amounts of `Billed`."""
        before = self.billed.get(campaign_id, Billed())
        self.billed[campaign_id] = replace(before, **amounts)

    def of_replica(self, id: str) -> ReplicaBudgets:
        return ReplicaBudgets(self, id)


class ReplicaBudgets:
    """See sponsored's ports.BudgetOwner."""

    def __init__(self, shared: SharedBudgets, id: str) -> None:
        self._shared, self._id, self._calls = shared, id, 0

    def lease(
        self, tenant: str, asked: Sequence[AskedLease], counted: Mapping[int, int], traffic_from: int
    ) -> Leased:  # fmt: skip
        shared = self._shared
        if shared.is_down or tenant in shared.refused:
            raise Unavailable("control is down")
        self._calls += 1
        for interval, requests in counted.items():
            shared.traffic.setdefault(interval, {})[self._id] = requests
        budgets = {one.campaign_id: self._renewed(one) for one in asked}
        traffic = {
            interval: sum(counts.values()) for interval, counts in shared.traffic.items() if interval >= traffic_from
        }
        return Leased(budgets, shared.rules.lease_s, traffic)

    def close(self) -> None:
        pass

    def _renewed(self, one: AskedLease) -> LeasedBudget:
        shared, known = self._shared, self._shared.billed.get(one.campaign_id, Billed())
        asked = Asked(
            one.campaign_id, one.day, _millionths(one.used), _millionths(one.held), _millionths(one.day_limit),
            _millionths(one.hour_limit), one.hour_from,
            None if one.total_limit is None else _millionths(one.total_limit), _millionths(one.least),
        )  # fmt: skip
        billed = Billed(*(amount * MILLION for amount in vars(known).values()))
        pool = shared.pools.setdefault(one.campaign_id, LeasePool())
        now_us = round(shared.clock() * 1e6)
        held = pool.renew(self._id, self._calls, asked, billed, now_us, shared.rules, now_us)
        return LeasedBudget(held / MILLION, known.on_day, known.value_of_week, known.sales_of_week)


def _millionths(amount: float) -> int:
    return round(amount * MILLION)
