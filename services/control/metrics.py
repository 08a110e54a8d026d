"""Control's Prometheus metrics. docs/reference/metrics.md describes them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class ControlMetrics:
    """Of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def named(name: str) -> str:
            return f"kairos_control_{name}"

        registry = self.registry
        self.requests = Counter(named("requests"), "Calls.", ["method", "code"], registry=registry)
        self.request_seconds = Histogram(
            named("request_seconds"), "Time of calls.", ["method"], buckets=_SECONDS, registry=registry
        )
        self.watchers = Gauge(named("watchers"), "Open watch streams.", registry=registry)
        self.snapshot_version = Gauge(
            named("snapshot_version"), "The newest snapshot of each tenant.", ["tenant"], registry=registry
        )
        self.audit_entries = Counter(named("audit_entries"), "Audit entries that were stored.", registry=registry)
        self.audit_duplicates = Counter(
            named("audit_duplicates"), "Audit entries that came and were stored already.", registry=registry
        )
        self.audit_online_entries = Gauge(
            named("audit_online_entries"), "Audit entries in the database.", registry=registry
        )
        self.audit_online_bytes = Gauge(named("audit_online_bytes"), "Their bytes on the disk.", registry=registry)
        self.audit_archive_bytes = Gauge(
            named("audit_archive_bytes"), "Bytes of the archive, if it is a folder.", registry=registry
        )
        self.audit_archived_entries = Counter(
            named("audit_archived_entries"), "Audit entries that were moved to the archive.", registry=registry
        )
        self.audit_archive_failures = Counter(
            named("audit_archive_failures"), "Failed turns of the task that archives.", registry=registry
        )
        self.database_up = Gauge(named("database_up"), "0 while the database cannot be used.", registry=registry)
