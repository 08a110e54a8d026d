"""What Prometheus sees: every metric of the gateway, in one place. docs/metrics.md describes them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Shares of the budget; at 1 it is used up.
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 5.0)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5)


class Metrics:
    """One registry for each gateway, so that two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def named(name: str) -> str:
            return f"kairos_gateway_{name}"

        registry = self.registry
        self.requests = Counter(named("requests"), "Public calls.", ["method", "code"], registry=registry)
        self.request_seconds = Histogram(
            named("request_seconds"), "Time of public calls.", ["method"], buckets=_SECONDS, registry=registry
        )
        self.stage_calls = Counter(named("stage_calls"), "Calls to stages.", ["stage", "outcome"], registry=registry)
        self.stage_seconds = Histogram(
            named("stage_seconds"), "Time of calls to stages.", ["stage"], buckets=_SECONDS, registry=registry
        )
        self.degradations = Counter(
            named("degradations"), "Answers that gave something up.", ["stage", "reason"], registry=registry
        )
        self.degraded_answers = Counter(
            named("degraded_answers"), "Answers with at least one degradation.", ["method"], registry=registry
        )
        self.budget_used = Histogram(
            named("budget_used"), "Share of the budget that an answer took.", ["method"], buckets=_SHARES,
            registry=registry,
        )  # fmt: skip
        self.circuit_open = Gauge(named("circuit_open"), "1 while a stage is left alone.", ["stage"], registry=registry)
        self.in_flight = Gauge(named("requests_in_flight"), "Public calls being served.", registry=registry)
        self.concurrency_limit = Gauge(named("concurrency_limit"), "Calls let in at once.", registry=registry)
        self.impressions_dropped = Counter(
            named("impressions_dropped"), "Impressions that could not be logged.", registry=registry
        )
        self.recommendations = Counter(
            named("recommendations"), "New recommendations, by what they went by.", ["source"], registry=registry
        )
        self.imported_products = Counter(
            named("imported_products"), "Products received by imports.", ["outcome"], registry=registry
        )
        self.shown_items = Counter(named("shown_items"), "Products on answered pages.", registry=registry)
        self.empty_searches = Counter(named("empty_searches"), "Searches that found nothing.", registry=registry)
        self.later_pages = Counter(
            named("later_pages"), "Pages after the first, by where the ranking was.", ["ranking"], registry=registry
        )
        self.events = Counter(named("events"), "Events recorded.", ["type"], registry=registry)
        self.clicks = Counter(
            named("clicks"), "Clicks, by what is known of the ranking.", ["attribution"], registry=registry
        )
        self.click_gain = Counter(
            named("click_gain"), "Sum of 1 / log2(1 + position) of located clicks.", registry=registry
        )
        self.offers = Counter(named("offers"), "Prices on answered pages.", ["reason", "change"], registry=registry)
