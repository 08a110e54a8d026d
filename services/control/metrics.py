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
        self.database_up = Gauge(named("database_up"), "0 while the database cannot be used.", registry=registry)
