"""A replica's share of a budget. Control gives it for a short time: services/control/domain/leases.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Lease:
    """Expected cost since the replica's start, in minor units: what it may use in all until `until_s`, and what it has
    used.
    """

    held: float = 0.0
    until_s: float = 0.0
    used: float = 0.0

    def take(self, cost: float, now_s: float) -> bool:
        """Whether an ad of this expected cost may be shown; if so, it is taken."""
        if now_s >= self.until_s or self.used + cost > self.held:
            return False
        self.used += cost
        return True

    def may_take(self, now_s: float) -> bool:
        """Whether anything is left."""
        return now_s < self.until_s and self.used < self.held
