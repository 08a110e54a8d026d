"""Puts the gateway together: clients of the stages, background work and the handler."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kairos.control.v1 import control_pb2
from services.common.context import DEFAULT_TENANT
from services.common.published import PublishedSnapshots
from services.gateway.adapters.moderation_file import load_rules
from services.gateway.adapters.stage_clients import StageClients, connect
from services.gateway.adapters.text_files import load_texts
from services.gateway.background.campaigns import PublishedCampaigns
from services.gateway.background.click_positions import ClickPositions
from services.gateway.background.connections import ConnectionRenewal
from services.gateway.background.event_loop_watch import EventLoopWatch
from services.gateway.background.experiments import PublishedExperiments
from services.gateway.background.impressions import ImpressionLog
from services.gateway.background.list_prices import ListPriceSwitch
from services.gateway.background.moderation import Moderation
from services.gateway.background.popular_items import PopularItems
from services.gateway.background.rankings import RankingWriter
from services.gateway.background.replicas import ReplicaWatch
from services.gateway.background.reviews import ReviewQueue
from services.gateway.background.rules import Rules
from services.gateway.background.serving import Serving
from services.gateway.background.supervisor import Supervisor
from services.gateway.background.token_keys import TokenKeys
from services.gateway.domain.moderation.moderator import Moderator
from services.gateway.handler import GatewayHandler
from services.gateway.metrics import Metrics
from services.gateway.parts import Parts
from services.gateway.security import Authenticator
from services.gateway.settings import GatewaySettings
from services.gateway.stage_calls import StageAccess

# What the gateway uses of what control publishes.
_WATCHED = (
    control_pb2.RESOURCE_KIND_SERVING_CONFIGURATION,
    control_pb2.RESOURCE_KIND_MERCHANDISING_RULE,
    control_pb2.RESOURCE_KIND_SYNONYM_SET,
    control_pb2.RESOURCE_KIND_TENANT,
    control_pb2.RESOURCE_KIND_PRICE_POLICY,
    control_pb2.RESOURCE_KIND_CAMPAIGN,
    control_pb2.RESOURCE_KIND_EXPERIMENT,
    control_pb2.RESOURCE_KIND_REVIEW,
)


@dataclass(frozen=True)
class Gateway:
    """A working handler with everything that it uses."""

    handler: GatewayHandler
    parts: Parts
    clients: StageClients
    supervisor: Supervisor
    watch: EventLoopWatch

    async def close(self) -> None:
        """Sends what is queued, for `drain_s` seconds at most, then closes the connections."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.parts.settings.server.drain_s):
                await self.parts.rankings.close()
                await self.parts.impressions.close()
        self.supervisor.close()
        await self.clients.close()
        self.watch.close()


def build_gateway(settings: GatewaySettings, clock: Callable[[], float] = time.time) -> Gateway:
    """Needs a running event loop. The popular items of the default tenant are cached from the start.

    `clock` gives seconds since the epoch.
    """
    metrics, clients, background = Metrics(), connect(settings), settings.background
    # Before the first task: only tasks that are created later are watched.
    watch = EventLoopWatch(metrics)
    switch = ListPriceSwitch()
    access = StageAccess(settings, metrics, list_price_only=switch.is_on)
    stubs, supervisor = clients.stubs, Supervisor(metrics)
    rules = Rules(settings.merchandising_rules, metrics)
    serving = Serving(settings.serving_configuration, metrics)
    experiments = PublishedExperiments(clock)
    authenticator = Authenticator(settings, clock)
    campaigns = PublishedCampaigns()
    reviews = ReviewQueue(settings.control, metrics, supervisor)
    moderation = Moderation(Moderator(load_rules(settings.moderation.rules)), stubs, access, reviews, supervisor)
    prepares = [
        serving.prepare, rules.prepare, authenticator.prepare, switch.prepare, campaigns.prepare, experiments.prepare,
        moderation.prepare,
    ]  # fmt: skip
    published = PublishedSnapshots(settings.control, _WATCHED, prepares, metrics.published)
    parts = Parts(
        settings, metrics, stubs, access, authenticator,
        PopularItems(stubs, access, settings.search, supervisor),
        RankingWriter(stubs, access, metrics, supervisor, background.rankings_mb * 1e6),
        ImpressionLog(stubs, access, metrics, supervisor, background.impressions_mb * 1e6),
        ClickPositions(stubs, access, metrics, supervisor),
        TokenKeys(stubs, access, supervisor, settings.security.token_key.get_secret_value()),
        load_texts(settings.domain_dir),
        serving,
        rules,
        campaigns,
        experiments,
        moderation,
        reviews,
        published.versions,
        clock,
    )  # fmt: skip
    serving.start(supervisor)
    rules.start(supervisor)
    if settings.control.target:
        published.load()
        supervisor.keep("control", published.follow)
    parts.popular_items.track(DEFAULT_TENANT)
    parts.popular_items.start()
    ConnectionRenewal(clients, supervisor)
    if settings.replicas_file and not clients.uses_tls:
        ReplicaWatch(Path(settings.replicas_file), clients, metrics, supervisor)
    return Gateway(GatewayHandler(parts), parts, clients, supervisor, watch)
