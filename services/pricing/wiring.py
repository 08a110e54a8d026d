"""Builds pricing from its settings. It needs no Ray: tests and benchmarks build it in the same way."""

from __future__ import annotations

from services.pricing.adapters.parquet_archive import ParquetArchive
from services.pricing.adapters.sqlite_audit_log import AuditBounds, SqliteAuditLog
from services.pricing.domain.guardrails import Guardrails
from services.pricing.domain.pricing import ListPrice, MarkdownRules, Pricer
from services.pricing.handler import PricingHandler
from services.pricing.ports import AuditLog
from services.pricing.settings import PricingSettings

# Increased with every change of the rules.
VERSION = 1


def build_handler(settings: PricingSettings) -> PricingHandler:
    return PricingHandler(
        build_pricer(settings),
        f"{settings.pricer}@{VERSION}",
        build_guardrails(settings),
        build_audit_log(settings),
        settings.quote_valid_s,
        archive_every_s=settings.audit.interval_s,
    )


def build_pricer(settings: PricingSettings) -> Pricer:
    return ListPrice() if settings.pricer == "list-price" else MarkdownRules(**settings.rules.model_dump())


def build_guardrails(settings: PricingSettings) -> Guardrails:
    return Guardrails(**settings.guardrails.model_dump())


def rules_of(settings: PricingSettings) -> str:
    """Everything that a computed price depends on besides the item and the time, as a text to compare."""
    return f"{VERSION} {settings.model_dump_json(include={'pricer', 'guardrails', 'rules'})}"


def build_audit_log(settings: PricingSettings) -> AuditLog:
    audit = settings.audit
    archive = ParquetArchive(audit.archive_url)
    if not audit.archive_url:
        archive = ParquetArchive(str(settings.data_dir / "archive"), audit.archive_mib << 20)
    bounds = AuditBounds(audit.online_days * 86_400, audit.online_quotes, audit.partition_quotes)
    return SqliteAuditLog(settings.data_dir, archive, bounds)
