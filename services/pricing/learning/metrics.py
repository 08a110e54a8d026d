"""The consumer's Prometheus metrics, beside those of the price publisher. docs/reference/metrics.md describes them."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge

from services.pricing.learning.sqlite_store import Size


class LearningMetrics:
    """`registry`: that of the process."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"kairos_price_learning_{name}", text, labels, registry=self.registry)

        self.up_to_date = gauge("up_to_date_timestamp_seconds", "Every record up to this time is in the demand store.")
        self.failures = Counter(
            "kairos_price_learning_failures", "Pages that could not be read, and are read again.",
            registry=self.registry,
        )  # fmt: skip
        self._rows = gauge("rows", "Rows of the demand store.", "table")
        self._unjoined = gauge("unjoined_share", "Share of the pieces bought of which no impression is known.")

    def report(self, size: Size, unjoined_share: float) -> None:
        for table, rows in size._asdict().items():
            self._rows.labels(table).set(rows)
        if not math.isnan(unjoined_share):
            self._unjoined.set(unjoined_share)
