"""Shares of a budget for replicas, for a short time each: together they never hold more than is left.

A click comes after its ad was shown. A replica therefore spends expected cost, price times probability of a click, at
the moment of showing. What a lease has paid for counts until its clicks have had time to come: by then the ledger has
them. A replica that is killed reports nothing, and its whole lease counts until then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class LeaseRules:
    """`share`: of what is left, for one lease. `click_delay_s`: how long clicks of an ad are waited for."""

    lease_s: float = 10.0
    share: float = 0.1
    click_delay_s: float = 60.0


@dataclass
class Lease:
    """`used`: expected cost so far, in minor units. `replica_id` None: given back."""

    replica_id: str | None
    amount: float
    until_s: float
    used: float = 0.0

    def take(self, cost: float, now_s: float) -> bool:
        """Whether an ad of this expected cost may be shown; if so, it is taken."""
        if now_s >= self.until_s or self.used + cost > self.amount:
            return False
        self.used += cost
        return True


class LeasePool:
    """The leases of one campaign. `leases`: those that count."""

    def __init__(self, rules: LeaseRules, leases: Iterable[Lease] = ()) -> None:
        self._rules = rules
        self.leases = list(leases)

    def renew(
        self, replica_id: str, used: float, limit: float, billed: float, least: float, now_s: float
    ) -> Lease:  # fmt: skip
        """A new lease; the replica's last one ends, of which it has `used` so much. `limit`: what may be spent in all,
        `billed`: what the ledger knows of it. `least`: less is of no use, for example the bid.
        """
        delay_s = self._rules.click_delay_s
        for lease in self.leases:
            if lease.replica_id == replica_id:
                lease.replica_id, lease.amount, lease.until_s = None, min(used, lease.amount), now_s
        self.leases = [lease for lease in self.leases if now_s < lease.until_s + delay_s]
        left = limit - billed - sum(lease.amount for lease in self.leases)
        lease = Lease(
            replica_id, max(0.0, min(left, max(left * self._rules.share, least))), now_s + self._rules.lease_s
        )
        self.leases.append(lease)
        return Lease(replica_id, lease.amount, lease.until_s)
