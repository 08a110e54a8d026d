"""What the flows work with in addition to the stage calls of their own request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from services.gateway.background.campaigns import PublishedCampaigns
from services.gateway.background.click_positions import ClickPositions
from services.gateway.background.experiments import PublishedExperiments
from services.gateway.background.impressions import ImpressionLog
from services.gateway.background.moderation import Moderation
from services.gateway.background.popular_items import PopularItems
from services.gateway.background.rankings import RankingWriter
from services.gateway.background.reviews import ReviewQueue
from services.gateway.background.serving import Serving
from services.gateway.background.token_keys import TokenKeys
from services.gateway.domain.texts import DomainTexts
from services.gateway.metrics import Metrics
from services.gateway.ports import PublishedRules, StageStubs
from services.gateway.security import Authenticator
from services.gateway.settings import GatewaySettings
from services.gateway.stage_calls import StageAccess


@dataclass
class Parts:
    """`clock` gives seconds since the epoch: of what is logged."""

    settings: GatewaySettings
    metrics: Metrics
    stubs: StageStubs
    access: StageAccess
    authenticator: Authenticator
    popular_items: PopularItems
    rankings: RankingWriter
    impressions: ImpressionLog
    click_positions: ClickPositions
    token_keys: TokenKeys
    texts: DomainTexts
    serving: Serving
    rules: PublishedRules
    campaigns: PublishedCampaigns
    experiments: PublishedExperiments
    moderation: Moderation
    reviews: ReviewQueue
    # The version of the published snapshot in use, by tenant.
    snapshot_versions: Mapping[str, int]
    clock: Callable[[], float]
