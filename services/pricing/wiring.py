"""Builds pricing from its settings. It needs no Ray: tests and benchmarks build it in the same way."""

from __future__ import annotations

import structlog
from prometheus_client import CollectorRegistry

from services.common.outbox.delivery import Delivery
from services.common.outbox.settings import build_outbox
from services.common.published import PublishedMetrics
from services.pricing.handler import PricingHandler
from services.pricing.policies import FollowedPolicies
from services.pricing.settings import PricingSettings

_log = structlog.get_logger("kairos.pricing")


def build_handler(settings: PricingSettings) -> PricingHandler:
    """Raises InvalidArgument for a Redis that may lose what it has acknowledged."""
    earlier = settings.data_dir / "audit.db"
    if earlier.exists():
        _log.warning(
            "an earlier version of Kairos kept its quotes in this file: take them into control, then move it away",
            file=str(earlier), remedy=f"kairos control import-audit {earlier}",
        )  # fmt: skip
    outbox = build_outbox(settings.outbox, "pricing", settings.data_dir, settings.redis_url)
    # Ray scrapes no registry: a replica reads it.
    metrics = PublishedMetrics(CollectorRegistry(), "kairos_pricing")
    return PricingHandler(
        FollowedPolicies(settings, settings.control, metrics),
        outbox,
        settings.quote_valid_s,
        delivery=Delivery(outbox, settings.control, settings.outbox.interval_s) if settings.control.target else None,
        measures=metrics.measures,
    )
