"""The publisher's Prometheus metrics. docs/reference/metrics.md describes them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from services.common.published import PublishedMetrics
from services.pricing.domain.guardrails import Guardrail
from services.pricing.domain.publication import PriceChange
from services.pricing.publisher.ports import Published
from services.pricing.publisher.settings import MetricsSettings


class PublisherMetrics:
    """Of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def named(name: str) -> str:
            return f"kairos_price_publisher_{name}"

        registry = self.registry
        self.up_to_date = Gauge(
            named("up_to_date_timestamp_seconds"), "Every change up to this time is published.", registry=registry
        )
        self.changes = Counter(
            named("changes"), "Prices that were published or withdrawn.", ["kind"], registry=registry
        )
        # The increase of a series that begins with 1 would be invisible to Prometheus.
        for kind in ("published", "withdrawn"):
            self.changes.labels(kind)
        self.rejected = Counter(named("rejected"), "Prices that the gateway rejected.", registry=registry)
        self.failures = Counter(named("failures"), "Steps that failed and are repeated.", registry=registry)
        self.held = Counter(named("held"), "Published prices that a guardrail held.", ["guardrail"], registry=registry)
        for guardrail in Guardrail:
            self.held.labels(guardrail.name.lower())
        self.price_wars = Counter(
            named("price_wars"), "Price wars of a product with its competitors that were ended.", registry=registry
        )
        self.list_price_only = Gauge(
            named("list_price_only"), "1 while computed prices are switched off.", registry=registry
        )
        self.waiting_reviews = Gauge(
            named("waiting_reviews"), "Changes of prices that wait for a decision.", registry=registry
        )
        self.review_failures = Counter(
            named("review_failures"), "Changes that could not be handed to a person and are tried again.",
            registry=registry,
        )  # fmt: skip
        self.policies_valid = Gauge(
            named("policies_valid"), "0 while a file of price policies is invalid and those before it are in use.",
            registry=registry,
        )  # fmt: skip
        self.policies_valid.set(1)
        self.published = PublishedMetrics(registry, "kairos_price_publisher")
        self.upcoming = Gauge(
            named("upcoming_products"), "Products whose price may change at a known time.", registry=registry
        )

    def count(self, changes: Iterable[PriceChange], published: Published) -> None:
        for change in changes:
            self.changes.labels("withdrawn" if change.price is None else "published").inc()
            if change.price is not None and change.price.guardrail:
                self.held.labels(Guardrail(change.price.guardrail).name.lower()).inc()
        self.rejected.inc(published.rejected_count)

    def serve(self, settings: MetricsSettings) -> None:
        """From a thread of its own, as long as the process lives. Raises ValueError where the port is taken."""
        if not settings.port:
            return
        try:
            start_http_server(settings.port, settings.host, registry=self.registry)
        except OSError as error:
            raise ValueError(
                f"no metrics on {settings.host}:{settings.port}: {error}; "
                "KAIROS_PRICE_PUBLISHER_METRICS__PORT takes another"
            ) from None
