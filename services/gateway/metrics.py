"""All metrics of the gateway. docs/reference/metrics.md describes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary

from kairos.common.v1 import common_pb2, event_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.published import PublishedMetrics
from services.gateway.convert import price_reason
from services.gateway.domain.places import Places

# Shares of the budget; at 1 it is used up.
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 5.0)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5)

# The background work of a gateway.
BACKGROUND_TASKS = (
    "popular_items",
    "impressions",
    "rankings",
    "clicks",
    "stage_health",
    "token_key",
    "replicas",
    "connections",
    "serving_configuration",
    "merchandising_rules",
    "control",
    "moderation",
    "reviews",
    "metrics",
)


class Metrics:
    """One registry for each gateway, so that two in one process do not mix. The modes of gauges say how the values of
    several processes on one port become one.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._watched: list[tuple[Gauge, Callable[[], float]]] = []

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
        self.direct_replicas = Gauge(
            named("direct_replicas"),
            "Replicas that are called directly.",
            ["stage"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.degradations = Counter(
            named("degradations"),
            "Skipped or failed stages.",
            ["stage", "reason"],
            registry=registry,
        )
        self.degraded_answers = Counter(
            named("degraded_answers"), "Answers with at least one degradation.", ["method"], registry=registry
        )
        self.budget_used = Histogram(
            named("budget_used"), "Share of the budget that an answer took.", ["method"], buckets=_SHARES,
            registry=registry,
        )  # fmt: skip
        self.experiment_seconds = Summary(
            named("experiment_answer_seconds"), "Time of answers to units of an experiment.", ["experiment", "arm"],
            registry=registry,
        )  # fmt: skip
        self.experiment_degraded = Counter(
            named("experiment_degraded_answers"), "Answers to units of an experiment with a degradation.",
            ["experiment", "arm"], registry=registry,
        )  # fmt: skip
        self.circuit_open = Gauge(
            named("circuit_open"),
            "1 while calls are paused.",
            ["stage"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.in_flight = Gauge(
            named("requests_in_flight"),
            "Public calls being served, without streams.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        # By limiter: "gateway", or a stage and its method.
        self.concurrency_limit = Gauge(
            named("concurrency_limit"), "The limit of concurrent calls.", ["limiter"], multiprocess_mode="livesum",
            registry=registry,
        )  # fmt: skip
        self.limiter_in_flight = Gauge(
            named("limiter_in_flight"), "Calls that hold a place.", ["limiter"], multiprocess_mode="livesum",
            registry=registry,
        )  # fmt: skip
        self.limiter_waiting = Gauge(
            named("limiter_waiting"), "Calls that wait for a place.", ["limiter"], multiprocess_mode="livesum",
            registry=registry,
        )  # fmt: skip
        self.base_latency = Gauge(
            named("base_latency_seconds"), "Median time of calls without load.", ["limiter"],
            multiprocess_mode="livemax", registry=registry,
        )  # fmt: skip
        self.overload_refusals = Counter(
            named("overload_refusals"), "Calls that were refused because the gateway is full.", ["method"],
            registry=registry,
        )  # fmt: skip
        self.quota_refusals = Counter(
            named("quota_refusals"), "Calls that were refused because of a quota.", ["tenant", "quota"],
            registry=registry,
        )  # fmt: skip
        self.import_streams = Gauge(
            named("import_streams"), "Open import streams.", multiprocess_mode="livesum", registry=registry
        )
        self.conversations = Gauge(
            named("conversations"), "Turns of conversations that are being answered.", multiprocess_mode="livesum",
            registry=registry,
        )  # fmt: skip
        self.first_words_seconds = Histogram(
            named("first_words_seconds"), "Time of turns of conversations until the first words.", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.published = PublishedMetrics(registry, "kairos_gateway")
        self.background_failures = Counter(
            named("background_failures"), "Unexpected errors of background work.", ["task"], registry=registry
        )
        for task in BACKGROUND_TASKS:
            self.background_failures.labels(task)
        self.background_bytes = Gauge(
            named("background_bytes"),
            "Size of what waits to be sent.",
            ["queue"],
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.long_steps = Counter(
            named("event_loop_long_steps"), "Steps that held the event loop for more than 50 ms.", ["kind"],
            registry=registry,
        )  # fmt: skip
        for kind in ("cpu", "blocked"):
            self.long_steps.labels(kind)
        self.event_loop_lag = Histogram(
            named("event_loop_lag_seconds"), "Delay of a timer of the event loop.", buckets=_SECONDS, registry=registry
        )
        self.impressions_dropped = Counter(
            named("impressions_dropped"), "Impressions that could not be logged.", registry=registry
        )
        self.rankings_dropped = Counter(
            named("rankings_dropped"), "Rankings of the gateway that could not be stored.", registry=registry
        )
        self.recommendations = Counter(
            named("recommendations"),
            "New recommendations, by candidate source.",
            ["source"],
            registry=registry,
        )
        self.merchandising_rules_valid = Gauge(
            named("merchandising_rules_valid"), "0 while a file is invalid and the rules before it are in use.",
            multiprocess_mode="livemin", registry=registry,
        )  # fmt: skip
        self.serving_configuration_valid = Gauge(
            named("serving_configuration_valid"), "0 while the file is invalid and the one before it is in use.",
            multiprocess_mode="livemin", registry=registry,
        )  # fmt: skip
        self.imported_products = Counter(
            named("imported_products"), "Products received by imports.", ["outcome"], registry=registry
        )
        self.moderated_products = Counter(
            named("moderated_products"), "Products of imports in which moderation found something.",
            ["category", "outcome"], registry=registry,
        )  # fmt: skip
        self.product_reviews = Counter(
            named("product_reviews"), "Shoppers' reviews received.", ["outcome"], registry=registry
        )
        self.reviews_asked = Counter(
            named("reviews_asked"), "Reviews that were asked for in control.", ["outcome"], registry=registry
        )
        self.offer_updates = Counter(named("offer_updates"), "Offers received.", ["outcome"], registry=registry)
        self.shown_items = Counter(named("shown_items"), "Products on answered pages.", registry=registry)
        self.sponsored_items = Counter(
            named("sponsored_items"), "Sponsored products on answered pages.", registry=registry
        )
        self.empty_searches = Counter(named("empty_searches"), "Searches that found nothing.", registry=registry)
        self.no_good_matches = Counter(
            named("no_good_matches"), "Searches whose results are no good match.", registry=registry
        )
        self.faq_questions = Counter(
            named("faq_questions"), "Questions of AskFaq, by outcome.", ["outcome"], registry=registry
        )
        self.faq_shown = Counter(
            named("faq_shown"), "Searches that an entry of the FAQ stands above.", registry=registry
        )
        self.later_pages = Counter(
            named("later_pages"), "Pages after the first, by the source of the order.", ["ranking"], registry=registry
        )
        self.events = Counter(named("events"), "Events recorded.", ["type"], registry=registry)
        self.clicks = Counter(
            named("clicks"), "Clicks, by what is known of the clicked ranking.", ["attribution"], registry=registry
        )
        self.click_gain = Counter(
            named("click_gain"), "Sum of 1 / log2(1 + position) of located clicks.", registry=registry
        )
        self.offers = Counter(named("offers"), "Prices on answered pages.", ["reason", "change"], registry=registry)

    def count_request(self, method: str, code: str, began_s: float) -> float:
        """Counts a public call that began at `began_s` (time.monotonic) and ends now. Returns its time in seconds."""
        latency_s = time.monotonic() - began_s
        self.requests.labels(method, code).inc()
        self.request_seconds.labels(method).observe(latency_s)
        return latency_s

    def count_arms(self, arms: Iterable[tuple[str, str]], latency_s: float, is_degraded: bool) -> None:
        """Of one answer; `arms` as (experiment, arm)."""
        for experiment, arm in arms:
            self.experiment_seconds.labels(experiment, arm).observe(latency_s)
            if is_degraded:
                self.experiment_degraded.labels(experiment, arm).inc()

    def watch_limit(self, limiter: str, places: Places, base_s: Callable[[], float] | None = None) -> None:
        self.watch(self.concurrency_limit.labels(limiter), lambda: int(places.limit.limit))
        self.watch(self.limiter_in_flight.labels(limiter), lambda: places.in_flight)
        self.watch(self.limiter_waiting.labels(limiter), lambda: places.waiting)
        if base_s is not None:
            self.watch(self.base_latency.labels(limiter), base_s)

    def watch(self, gauge: Gauge, read: Callable[[], float]) -> None:
        """The gauge is read when it is scraped, so that it costs calls nothing."""
        gauge.set_function(read)
        self._watched.append((gauge, read))

    async def refresh(self) -> None:
        """Writes once a second what `watch` was given, for a worker: its parent answers the scrapes."""
        while True:
            for gauge, read in self._watched:
                gauge.set(read())
            await asyncio.sleep(1)

    def count_event(self, event: event_pb2.Event) -> None:
        self.events.labels(event_pb2.EventType.Name(event.type).removeprefix("EVENT_TYPE_").lower()).inc()

    def count_offers(self, quotes: Iterable[pricing_pb2.PriceQuote]) -> None:
        """By reason, and by how the offer differs from the list price."""
        for quote in quotes:
            offer, listed = _amount(quote.offer), _amount(quote.list_price)
            change = "none" if offer == listed else "lower" if offer < listed else "higher"
            self.offers.labels(price_reason(quote), change).inc()


def _amount(money: common_pb2.Money) -> tuple[int, int]:
    return money.units, money.nanos
