"""The publisher's Prometheus metrics. docs/reference/metrics.md describes them."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from services.common.published import PublishedMetrics
from services.pricing.domain.decision import PriceDecision
from services.pricing.domain.evidence import Measure
from services.pricing.domain.guardrails import Guardrail
from services.pricing.domain.publication import PriceChange
from services.pricing.publisher.ports import Published
from services.pricing.publisher.settings import MetricsSettings

_RATIOS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0, 1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0)


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
        self.decisions = Counter(
            named("decisions"), "Decisions about prices, by the guardrail that held them.", ["guardrail"],
            registry=registry,
        )  # fmt: skip
        for guardrail in Guardrail:
            self.decisions.labels(guardrail.name.lower())
        self.price_ratio = Histogram(
            named("price_ratio"), "Decided prices, divided by the list price.", buckets=_RATIOS, registry=registry
        )
        self.expected = Counter(
            named("expected_profit"),
            "Expected profit of the periods that were decided about: at the decided price, at the list price, and at"
            " the price that is expected to be best.", ["at", "currency"], registry=registry,
        )  # fmt: skip
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
        self.outbox_fill = Gauge(
            named("outbox_fill_ratio"),
            "Share of its bound that the outbox of decisions holds. At 1 no price is published.", registry=registry,
        )  # fmt: skip
        self.outbox_age = Gauge(
            named("outbox_oldest_age_seconds"), "Time that the oldest decision in the outbox has waited.",
            registry=registry,
        )  # fmt: skip
        self.published = PublishedMetrics(registry, "kairos_price_publisher")
        self.upcoming = Gauge(
            named("upcoming_products"), "Products whose price may change at a known time.", registry=registry
        )

    def count(self, changes: Iterable[PriceChange], published: Published) -> None:
        for change in changes:
            self.changes.labels("withdrawn" if change.price is None else "published").inc()
        self.rejected.inc(published.rejected_count)

    def decided(self, decisions: Iterable[PriceDecision]) -> None:
        for one in decisions:
            self.decisions.labels(Guardrail(one.guardrail).name.lower()).inc()
            if one.item.list_price.amount:
                self.price_ratio.observe(float(one.price.amount / one.item.list_price.amount))
            self._expect(one)

    def _expect(self, one: PriceDecision) -> None:
        """Not of a product that is sold below its cost: a counter cannot fall."""
        evidence = one.proposed.evidence if one.proposed else None
        if evidence is None or evidence.measure is not Measure.PROFIT:
            return
        at = {"price": one.price.amount, "list_price": one.item.list_price.amount, "best_price": evidence.best}
        found = {name: evidence.period_days * evidence.result_a_day(price).mean for name, price in at.items()}
        if min(found.values()) >= 0:
            # The best of a ladder of prices: one between its steps may be better.
            found["best_price"] = max(found["best_price"], found["price"])
            for name, value in found.items():
                self.expected.labels(name, one.price.currency).inc(value)

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
