"""Builds pricing from its settings. It needs no Ray: tests and benchmarks build it in the same way."""

from __future__ import annotations

from services.pricing.adapters.sqlite_audit_log import SqliteAuditLog
from services.pricing.domain.pricing import Guardrails, MarkdownRules, Pricer, list_price
from services.pricing.handler import PricingHandler
from services.pricing.settings import PricingSettings

# Increased with every change of the rules.
VERSION = 1


def build_handler(settings: PricingSettings) -> PricingHandler:
    pricer: Pricer = list_price if settings.pricer == "list-price" else MarkdownRules(**settings.rules.model_dump())
    return PricingHandler(
        pricer,
        f"{settings.pricer}@{VERSION}",
        Guardrails(**settings.guardrails.model_dump()),
        SqliteAuditLog(settings.data_dir),
        settings.quote_valid_s,
    )
