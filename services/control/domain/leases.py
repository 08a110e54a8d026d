"""Shares of a campaign's budget for replicas, for a short time each: together they never hold more than is left.

A click comes after its ad was shown. A replica therefore uses expected cost, price times probability of a click, at the
moment of showing. What it has used counts until the clicks have had time to be billed: by then the bills have them. A
replica that is killed reports nothing, and all that it held counts until then.

Amounts are whole millionths of a minor unit, times microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from services.common.errors import Aborted, Overloaded
from services.control.domain.limits import MAX_LEASING_REPLICAS

# What was used is counted in so many steps of time, each of them until its end.
_STEPS = 12


@dataclass(frozen=True)
class LeaseRules:
    """`share`: of what is left, for one lease. `click_delay_s`: how long clicks of an ad are waited for,
    until the bills have them.
    """

    lease_s: float = 10.0
    share: float = 0.1
    click_delay_s: float = 90.0


@dataclass(frozen=True)
class AskedLease:
    """`used` and `held`: since the start of the replica; `held` is that of the last answer which it has. Limits are for
    all replicas: on the day, and in the hour that begins with the interval `hour_from`; `total_limit` None: no bound.
    """

    campaign_id: str
    day: date
    used: int
    held: int
    day_limit: int
    hour_limit: int
    hour_from: int
    total_limit: int | None
    least: int


@dataclass(frozen=True)
class Billed:
    """What the bills of a campaign say. `on_day`: the value of the clicks of the day, also beyond the budget; `in_all`:
    what is owed for all days; `value_of_week`, `sales_of_week`: of the last seven days.
    """

    on_day: int = 0
    in_all: int = 0
    value_of_week: int = 0
    sales_of_week: int = 0


@dataclass(frozen=True)
class LeaseCall:
    """Of one replica; `number` is larger in each of them. `traffic`: its requests in all by interval. `traffic_from`:
    the first interval whose traffic it wants.
    """

    replica_id: str
    number: int
    asked: tuple[AskedLease, ...] = ()
    traffic: Mapping[int, int] = field(default_factory=dict)
    traffic_from: int | None = None


@dataclass(frozen=True)
class Leases:
    """For `lease_s` seconds. `held`: by campaign, what the replica may use, and the bills. `traffic`: requests of all
    replicas, by interval from `traffic_from` on up to the present one.
    """

    lease_s: float
    held: Sequence[tuple[str, int, Billed]]
    missing: Sequence[str]
    traffic_from: int
    traffic: Sequence[int]


@dataclass
class _Holder:
    """A replica: its last call, what it has reported as used, and the most that it may use until then."""

    call: int
    used: int
    held: int
    until_us: int


@dataclass
class LeasePool:
    """The leases of one campaign. `waiting`: what was used and counts until a time, by that time. `hour`: the interval
    that the present hour began with, and what the clicks of the day were worth then.
    """

    holders: dict[str, _Holder] = field(default_factory=dict)
    waiting: dict[int, int] = field(default_factory=dict)
    hour: tuple[int, int] | None = None

    def renew(
        self, replica_id: str, call: int, asked: AskedLease, billed: Billed, rules: LeaseRules, now_us: int
    ) -> int:  # fmt: skip
        """What the replica may use in all from now on. Raises Aborted if a newer call was served, and Overloaded."""
        delay_us = round(rules.click_delay_s * 1e6)
        self._forget(now_us, delay_us)
        if self.hour is None or self.hour[0] != asked.hour_from:
            self.hour = asked.hour_from, billed.on_day
        own = self.holders.get(replica_id)
        if own is None:
            if len(self.holders) >= MAX_LEASING_REPLICAS:
                raise Overloaded(
                    f"{len(self.holders)} replicas lease the campaign {asked.campaign_id!r} already", delay_us / 1e6
                )
            # What a forgotten replica has used before has had its time.
            own = self.holders[replica_id] = _Holder(call, asked.used, 0, now_us)
        elif call <= own.call:
            raise Aborted(
                "a newer call of the replica was served; call again with a larger call_number",
                {"call_number": str(call), "served": str(own.call)},
            )
        self._wait(asked.used - own.used, now_us, delay_us)
        own.call, own.used = call, max(own.used, asked.used)
        held_by_others = sum(other.held - other.used for id, other in self.holders.items() if id != replica_id)
        left = asked.day_limit - billed.on_day
        left = min(left, self.hour[1] + asked.hour_limit - billed.on_day)
        if asked.total_limit is not None:
            left = min(left, asked.total_limit - billed.in_all)
        left -= sum(self.waiting.values()) + held_by_others
        held = own.used + max(0, min(left, max(int(left * rules.share), asked.least)))
        # Until the replica has this answer it may go on with the one before.
        before = min(asked.held, own.held) if now_us < own.until_us else 0
        own.held, own.until_us = max(own.used, held, before), now_us + round(rules.lease_s * 1e6)
        return held

    def as_json(self) -> dict[str, Any]:
        holders = {id: [one.call, one.used, one.held, one.until_us] for id, one in self.holders.items()}
        return {"holders": holders, "waiting": list(self.waiting.items()), "hour": self.hour}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LeasePool:
        holders = {id: _Holder(*values) for id, values in document["holders"].items()}
        hour = document["hour"]
        return cls(holders, dict(document["waiting"]), tuple(hour) if hour else None)

    def _forget(self, now_us: int, delay_us: int) -> None:
        self.holders = {id: one for id, one in self.holders.items() if now_us < one.until_us + delay_us}
        self.waiting = {until_us: amount for until_us, amount in self.waiting.items() if now_us < until_us}

    def _wait(self, amount: int, now_us: int, delay_us: int) -> None:
        if amount > 0:
            step_us = max(1, delay_us // _STEPS)
            until_us = -(-(now_us + delay_us) // step_us) * step_us
            self.waiting[until_us] = self.waiting.get(until_us, 0) + amount
