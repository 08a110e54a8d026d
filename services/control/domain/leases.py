"""Shares of a campaign's budget for replicas, for a short time each: together they never hold more than is left.

A click comes after its ad was shown. A replica therefore uses expected cost, price times probability of a click, at the
moment of showing. What it has used counts until the clicks have had time to come and the bills are complete up to then:
while bills are late, budgets end by what was used. A replica that is killed reports nothing, and all that it held
counts as used.

Amounts are whole millionths of a minor unit, times microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from services.common.errors import Aborted, Overloaded
from services.control.domain.limits import MAX_LEASING_REPLICAS

# What was used is kept in so many steps of the click delay; beyond the bound of a day the oldest become one.
_STEPS, _MOST_STEPS = 12, 64
# Later clicks are on no bill (services/sponsored/accounts.py): what was used waits no longer, even without any bills.
_BILLABLE_US = 4 * 86_400_000_000


@dataclass(frozen=True)
class LeaseRules:
    """`share`: of what is left, for one lease. `click_delay_s`: how long clicks of an ad are waited for."""

    lease_s: float = 10.0
    share: float = 0.1
    click_delay_s: float = 60.0


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
    """A replica: its last call, what it has reported as used, and the most that it may use until then on the day."""

    call: int
    used: int
    held: int
    until_us: int
    day: str


@dataclass
class LeasePool:
    """The leases of one campaign. `waiting`: what was used, by day and by the time up to which bills must be complete.
    `hour`: the interval that the present hour began with, and what the clicks of the day were worth then.
    """

    holders: dict[str, _Holder] = field(default_factory=dict)
    waiting: dict[tuple[str, int], int] = field(default_factory=dict)
    hour: tuple[int, int] | None = None

    def renew(
        self, replica_id: str, call: int, asked: AskedLease, billed: Billed, complete_us: int, rules: LeaseRules,
        now_us: int,
    ) -> int:  # fmt: skip
        """What the replica may use in all from now on. `complete_us`: up to which bills are complete. Raises Aborted if
        a newer call was served, and Overloaded.
        """
        delay_us, day = round(rules.click_delay_s * 1e6), asked.day.isoformat()
        self._forget(max(min(now_us, complete_us), now_us - _BILLABLE_US), delay_us)
        if self.hour is None or self.hour[0] != asked.hour_from:
            self.hour = asked.hour_from, billed.on_day
        own = self.holders.get(replica_id)
        if own is None:
            if len(self.holders) >= MAX_LEASING_REPLICAS:
                raise Overloaded(
                    f"{len(self.holders)} replicas lease the campaign {asked.campaign_id!r} already", delay_us / 1e6
                )
            # What a forgotten replica has used before is on the bills.
            own = self.holders[replica_id] = _Holder(call, asked.used, 0, now_us, day)
        elif call <= own.call:
            raise Aborted(
                "a newer call of the replica was served; call again with a larger call_number",
                {"call_number": str(call), "served": str(own.call)},
            )
        self._wait(own.day, asked.used - own.used, now_us, delay_us)
        own.call, own.used = call, max(own.used, asked.used)
        left = min(asked.day_limit, self.hour[1] + asked.hour_limit) - billed.on_day - self._used(replica_id, day)
        if asked.total_limit is not None:
            left = min(left, asked.total_limit - billed.in_all - self._used(replica_id, ""))
        held = own.used + max(0, min(left, max(int(left * rules.share), asked.least)))
        # Until the replica has this answer it may go on with the one before.
        before = min(asked.held, own.held) if now_us < own.until_us else 0
        own.held, own.until_us, own.day = max(own.used, held, before), now_us + round(rules.lease_s * 1e6), day
        return held

    def as_json(self) -> dict[str, Any]:
        holders = {id: [one.call, one.used, one.held, one.until_us, one.day] for id, one in self.holders.items()}
        waiting = [[*key, amount] for key, amount in self.waiting.items()]
        return {"holders": holders, "waiting": waiting, "hour": self.hour}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LeasePool:
        holders = {id: _Holder(*values) for id, values in document["holders"].items()}
        waiting = {(day, until_us): amount for day, until_us, amount in document["waiting"]}
        hour = document["hour"]
        return cls(holders, waiting, tuple(hour) if hour else None)

    def _forget(self, complete_us: int, delay_us: int) -> None:
        self.holders = {id: one for id, one in self.holders.items() if complete_us < one.until_us + delay_us}
        self.waiting = {key: amount for key, amount in self.waiting.items() if complete_us < key[1]}

    def _used(self, replica_id: str, day: str) -> int:
        """What counts beside the bills: what waits, and what other replicas hold. `day` empty: of all days."""
        waiting = sum(amount for (on, _), amount in self.waiting.items() if day in ("", on))
        others = (one for id, one in self.holders.items() if id != replica_id and day in ("", one.day))
        return waiting + sum(one.held - one.used for one in others)

    def _wait(self, day: str, amount: int, now_us: int, delay_us: int) -> None:
        if amount > 0:
            step_us = max(1, delay_us // _STEPS)
            key = day, -(-(now_us + delay_us) // step_us) * step_us
            self.waiting[key] = self.waiting.get(key, 0) + amount
            of_day = sorted(each for each in self.waiting if each[0] == day)
            if len(of_day) > _MOST_STEPS:
                self.waiting[of_day[1]] += self.waiting.pop(of_day[0])
