"""Builds sponsored from its settings. It needs no Ray: tests and benchmarks build it in the same way."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from services.common.periodic import Periodic
from services.common.published import FollowingThread, PublishedMetrics, PublishedSnapshots
from services.sponsored.adapters.grpc_budgets import GrpcBudgets
from services.sponsored.budgets import Budgets
from services.sponsored.campaigns import WATCHED, Campaigns
from services.sponsored.domain.frequency import FrequencyCap
from services.sponsored.domain.pacing import PacingRules
from services.sponsored.domain.page import PageRules
from services.sponsored.domain.selection import AuctionRules
from services.sponsored.handler import SponsoredHandler
from services.sponsored.ports import BudgetOwner
from services.sponsored.settings import SponsoredSettings

_PREFIX = "kairos_sponsored"


@dataclass(frozen=True)
class Sponsored:
    """A working handler with what it uses. It follows control until `close`, if there is a target."""

    handler: SponsoredHandler
    campaigns: Campaigns
    budgets: Budgets
    owner: BudgetOwner
    registry: CollectorRegistry
    turns: Periodic | None
    following: FollowingThread | None

    def measures(self) -> dict[str, float]:
        """By the name of the metric."""
        return {
            "kairos_sponsored_requests": self.handler.requests,
            "kairos_sponsored_places": self.handler.places,
            "kairos_sponsored_campaigns": sum(len(self.campaigns.of(one).campaigns) for one in self.campaigns.tenants),
            "kairos_sponsored_control_connected": self._value("control_connected"),
            "kairos_sponsored_refused_snapshots": self._value("refused_snapshots_total"),
            "kairos_sponsored_lease_failures": self.budgets.failures + (self.turns.failures if self.turns else 0),
        }

    def close(self) -> None:
        if self.following is not None:
            self.following.close()
        if self.turns is not None:
            self.turns.close()
        self.owner.close()

    def _value(self, name: str) -> float:
        return self.registry.get_sample_value(f"{_PREFIX}_{name}") or 0.0


def build_sponsored(
    settings: SponsoredSettings, clock: Callable[[], float] = time.time, owner: BudgetOwner | None = None
) -> Sponsored:
    """`clock` gives seconds since 1970. `owner` of the budgets: control, unless another one is given; then `turn` of
    the budgets is left to the caller.
    """
    turns, own = None, owner or GrpcBudgets(settings.control, uuid.uuid4().hex)
    budgets = Budgets(own, PacingRules(**settings.pacing.model_dump()), clock)
    campaigns = Campaigns()
    rules = AuctionRules(PageRules(**settings.page.model_dump()), settings.mechanism, settings.reserve)
    frequency = settings.frequency
    cap = FrequencyCap(frequency.most, frequency.window_s, frequency.capacity, clock)
    registry = CollectorRegistry()
    published = PublishedSnapshots(
        settings.control, WATCHED, [campaigns.prepare], PublishedMetrics(registry, _PREFIX)
    )  # fmt: skip
    following = None
    if settings.control.target:
        published.load()
        following = published.follow_in_thread()
        if owner is None:
            turns = Periodic("sponsored-budgets", lambda _: budgets.turn(), settings.turn_s)
    handler = SponsoredHandler(campaigns, budgets, rules, cap, clock)
    return Sponsored(handler, campaigns, budgets, own, registry, turns, following)
