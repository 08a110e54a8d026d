"""The biller's Prometheus metrics. docs/reference/metrics.md describes them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from services.common.published import PublishedMetrics
from services.sponsored.biller.settings import MetricsSettings
from services.sponsored.ports import LedgerSize

PREFIX = "kairos_biller"


class BillerMetrics:
    """Of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"{PREFIX}_{name}", text, registry=self.registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", text, labels, registry=self.registry)

        self.up_to_date = gauge(
            "up_to_date_timestamp_seconds", "Every record of the log up to this time is on the bills in control."
        )
        self.failures = counter("failures", "Steps that failed and are repeated.", "step")
        # The increase of a series that begins with 1 would be invisible to Prometheus.
        for step in ("log", "ledger", "bills"):
            self.failures.labels(step)
        self.bills = counter("bills", "Bills that were recorded in control, each change of one.")
        self.unreadable = counter("unreadable_records", "Records of the log that cannot be read and are on no bill.")
        self.restarts = counter("log_restarts", "Times that the log was read from its start again.")
        self.unknown = gauge(
            "unknown_campaign_impressions", "Ads that were shown and are on no bill: their campaign is not known."
        )
        self.published = PublishedMetrics(self.registry, PREFIX)
        self._facts = gauge("ledger_facts", "Impressions, clicks, purchases and refunds in the ledger.")
        self._bytes = gauge("ledger_bytes", "Bytes of the ledger on the disk.")

    @property
    def is_connected(self) -> bool:
        """Whether control is watched."""
        return bool(self.registry.get_sample_value(f"{PREFIX}_control_connected"))

    def report(self, size: LedgerSize) -> None:
        self._facts.set(size.facts)
        self._bytes.set(size.bytes)

    def serve(self, settings: MetricsSettings) -> None:
        """From a thread of its own, as long as the process lives. Raises ValueError where the port is taken."""
        if not settings.port:
            return
        try:
            start_http_server(settings.port, settings.host, registry=self.registry)
        except OSError as error:
            raise ValueError(
                f"no metrics on {settings.host}:{settings.port}: {error}; KAIROS_BILLER_METRICS__PORT takes another"
            ) from None
