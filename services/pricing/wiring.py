"""Builds pricing from its settings. It needs no Ray: tests and benchmarks build it in the same way."""

from __future__ import annotations

import structlog

from services.common.outbox.delivery import Delivery
from services.common.outbox.settings import build_outbox
from services.pricing.domain.guardrails import Guardrails
from services.pricing.domain.pricing import ListPrice, MarkdownRules, Pricer
from services.pricing.handler import PricingHandler
from services.pricing.settings import PricingSettings

# Increased with every change of the rules.
VERSION = 1


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
    return PricingHandler(
        build_pricer(settings),
        f"{settings.pricer}@{VERSION}",
        build_guardrails(settings),
        outbox,
        settings.quote_valid_s,
        delivery=Delivery(outbox, settings.control, settings.outbox.interval_s) if settings.control.target else None,
    )


def build_pricer(settings: PricingSettings) -> Pricer:
    return ListPrice() if settings.pricer == "list-price" else MarkdownRules(**settings.rules.model_dump())


def build_guardrails(settings: PricingSettings) -> Guardrails:
    return Guardrails(**settings.guardrails.model_dump())


def rules_of(settings: PricingSettings) -> str:
    """Everything that a computed price depends on besides the item and the time, as a text to compare."""
    return f"{VERSION} {settings.model_dump_json(include={'pricer', 'guardrails', 'rules'})}"
