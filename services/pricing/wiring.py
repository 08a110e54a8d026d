"""Builds pricing from its settings. It needs no Ray: tests and benchmarks build it in the same way."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from services.common.published import PublishedMetrics
from services.pricing.adapters.parquet_archive import ParquetArchive
from services.pricing.adapters.sqlite_audit_log import AuditBounds, SqliteAuditLog
from services.pricing.handler import PricingHandler
from services.pricing.policies import FollowedPolicies
from services.pricing.ports import AuditLog
from services.pricing.settings import PricingSettings


def build_handler(settings: PricingSettings) -> PricingHandler:
    # Ray scrapes no registry: a replica reads it.
    metrics = PublishedMetrics(CollectorRegistry(), "kairos_pricing")
    policies = FollowedPolicies(settings, settings.control, metrics)
    return PricingHandler(
        policies, build_audit_log(settings), settings.quote_valid_s, archive_every_s=settings.audit.interval_s,
        measures=metrics.measures,
    )  # fmt: skip


def build_audit_log(settings: PricingSettings) -> AuditLog:
    audit = settings.audit
    archive = ParquetArchive(audit.archive_url)
    if not audit.archive_url:
        archive = ParquetArchive(str(settings.data_dir / "archive"), audit.archive_mib << 20)
    bounds = AuditBounds(audit.online_days * 86_400, audit.online_quotes, audit.partition_quotes)
    return SqliteAuditLog(settings.data_dir, archive, bounds)
