"""Builds sponsored from its settings. It needs no Ray: tests and benchmarks build it in the same way."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from services.common.periodic import Periodic
from services.common.published import FollowingThread, PublishedMetrics, PublishedSnapshots
from services.sponsored.accounts import AccountRules, Accounts
from services.sponsored.adapters.sqlite_ledger import SqliteLedger
from services.sponsored.budgets import Budgets
from services.sponsored.campaigns import WATCHED, Campaigns
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.frequency import FrequencyCap
from services.sponsored.domain.invalid_clicks import ClickRules
from services.sponsored.domain.leases import LeaseRules
from services.sponsored.domain.pacing import PacingRules
from services.sponsored.domain.page import PageRules
from services.sponsored.domain.selection import AuctionRules
from services.sponsored.handler import SponsoredHandler
from services.sponsored.ports import Ledger
from services.sponsored.settings import SponsoredSettings

_PREFIX = "kairos_sponsored"


@dataclass(frozen=True)
class Sponsored:
    """A working handler with what it uses. It follows control until `close`, if there is a target."""

    handler: SponsoredHandler
    campaigns: Campaigns
    budgets: Budgets
    ledger: Ledger
    accounts: Accounts
    registry: CollectorRegistry
    turns: tuple[Periodic, ...]
    following: FollowingThread | None

    def measures(self) -> dict[str, float]:
        """By the name of the metric."""
        size = self.ledger.size()
        return {
            "kairos_sponsored_requests": self.handler.requests,
            "kairos_sponsored_places": self.handler.places,
            "kairos_sponsored_campaigns": sum(len(self.campaigns.of(one).campaigns) for one in self.campaigns.tenants),
            "kairos_sponsored_control_connected": self._value("control_connected"),
            "kairos_sponsored_refused_snapshots": self._value("refused_snapshots_total"),
            "kairos_sponsored_ledger_facts": size.facts,
            "kairos_sponsored_ledger_bytes": size.bytes,
            "kairos_sponsored_upkeep_failures": sum(turn.failures for turn in self.turns),
        }

    def close(self) -> None:
        if self.following is not None:
            self.following.close()
        for turn in self.turns:
            turn.close()
        self.ledger.close()

    def _value(self, name: str) -> float:
        return self.registry.get_sample_value(f"{_PREFIX}_{name}") or 0.0


def build_sponsored(settings: SponsoredSettings, clock: Callable[[], float] = time.time) -> Sponsored:
    """`clock` gives seconds since 1970."""
    ledger = SqliteLedger(settings.data_dir)
    accounts = Accounts(
        ledger, ledger.campaigns, AccountRules(**settings.accounts.model_dump()),
        ClickRules(**settings.clicks.model_dump()), clock,
    )  # fmt: skip
    budgets = Budgets(
        ledger, accounts, PacingRules(**settings.pacing.model_dump()), LeaseRules(**settings.leases.model_dump()),
        uuid.uuid4().hex, clock,
    )  # fmt: skip

    def keep(tenant: str, found: Iterable[Campaign]) -> None:
        ledger.keep_campaigns(tenant, found, clock())

    campaigns = Campaigns(keep)

    def upkeep(_: threading.Event) -> None:
        for tenant in campaigns.tenants:
            keep(tenant, campaigns.of(tenant).campaigns.values())
            accounts.settle(tenant)
        accounts.trim()

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
    turns = (
        Periodic("sponsored-budgets", lambda _: budgets.turn(), settings.turn_s),
        Periodic("sponsored-upkeep", upkeep, settings.upkeep_s),
    )
    handler = SponsoredHandler(campaigns, budgets, rules, cap, clock)
    return Sponsored(handler, campaigns, budgets, ledger, accounts, registry, turns, following)
