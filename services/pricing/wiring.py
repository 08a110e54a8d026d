"""Builds pricing from its settings. It needs no Ray: tests and benchmarks build it in the same way."""

from __future__ import annotations

from services.pricing.adapters.parquet_archive import ParquetArchive
from services.pricing.adapters.sqlite_audit_log import AuditBounds, SqliteAuditLog
from services.pricing.domain.pricing import Guardrails, MarkdownRules, Pricer, list_price
from services.pricing.handler import PricingHandler
from services.pricing.ports import AuditLog
from services.pricing.settings import PricingSettings

# Increased with every change of the rules.
VERSION = 1


def build_handler(settings: PricingSettings) -> PricingHandler:
    pricer: Pricer = list_price if settings.pricer == "list-price" else MarkdownRules(**settings.rules.model_dump())
    return PricingHandler(
        pricer,
        f"{settings.pricer}@{VERSION}",
        Guardrails(**settings.guardrails.model_dump()),
        build_audit_log(settings),
        settings.quote_valid_s,
        archive_every_s=settings.audit.interval_s,
    )


def build_audit_log(settings: PricingSettings) -> AuditLog:
    audit = settings.audit
    archive = ParquetArchive(audit.archive_url)
    if not audit.archive_url:
        archive = ParquetArchive(str(settings.data_dir / "archive"), audit.archive_mib << 20)
    bounds = AuditBounds(audit.online_days * 86_400, audit.online_quotes, audit.partition_quotes)
    return SqliteAuditLog(settings.data_dir, archive, bounds)
