"""The learner's Prometheus metrics. docs/reference/metrics.md describes them."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from services.common.models.rollout import StepKind
from services.learner.settings import MetricsSettings


class LearnerMetrics:
    """One registry for each process: a learner that continues after a failure goes on counting."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def named(name: str) -> str:
            return f"kairos_learner_{name}"

        registry = self.registry
        self.pages = Counter(
            named("pages"), "Pages of impressions tested, then trained on or held back.", registry=registry
        )
        self.missed = Counter(
            named("missed_pages"), "Pages that retention removed before they were learned from.", registry=registry
        )
        self.updates = Counter(named("updates"), "Updates of the working copy.", registry=registry)
        self.learned_up_to = Gauge(
            named("learned_up_to_timestamp_seconds"), "All outcomes that were due by then are trained on and saved.",
            registry=registry,
        )  # fmt: skip
        self.steps = Counter(named("steps"), "Steps of versions, taken by the learner.", ["step"], registry=registry)
        # The increase of a series that begins with 1 would be invisible to Prometheus.
        for kind in StepKind:
            self.steps.labels(kind.value)
        self.live_version_made = Gauge(
            named("live_version_made_timestamp_seconds"), "When the current version was made.", ["version"],
            registry=registry,
        )  # fmt: skip
        self.drifts = Counter(named("drifts"), "Drifts detected, by measure.", ["measure"], registry=registry)
        self.window_mean = Gauge(
            named("window_mean"), "Mean of ADWIN's window, since the last drift and before it.",
            ["measure", "window"], registry=registry,
        )  # fmt: skip

    def serve(self, settings: MetricsSettings) -> None:
        """From a thread of its own, as long as the process lives. Raises ValueError where the port is taken."""
        if not settings.port:
            return
        try:
            start_http_server(settings.port, settings.host, registry=self.registry)
        except OSError as error:
            raise ValueError(
                f"no metrics on {settings.host}:{settings.port}: {error}; KAIROS_LEARNER_METRICS__PORT takes another"
            ) from None
