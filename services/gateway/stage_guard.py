"""What the gateway knows of each stage, shared by all requests: limits, latencies, breaker and retries."""

from __future__ import annotations

from enum import Enum

from prometheus_client import Counter

from services.common.circuit_breaker import CircuitBreaker
from services.gateway.domain.base_latency import BaseLatency
from services.gateway.domain.budget import Stage
from services.gateway.domain.gradient_limit import GradientLimit
from services.gateway.domain.places import Places
from services.gateway.domain.retry_budget import RetryBudget
from services.gateway.domain.slowdown import Part
from services.gateway.metrics import Metrics
from services.gateway.settings import LimitSettings

# Above the gateway's own tolerance, which therefore binds first when the whole suite is slow.
_TOLERANCE, _START = 3.0, 8
_MOST_WAITING = 16
# Of a call that the stage refused because it is full.
_REFUSED_SLOWDOWN = 10.0

# The call of a stage that the flows make last, by the name of its request: later stages keep time for it.
_MAIN_CALLS = {
    Stage.QUERY_ENCODER: "EncodeQueryRequest",
    Stage.RETRIEVAL: "RetrieveCandidatesRequest",
    Stage.RANKER: "RankItemsRequest",
    Stage.SPONSORED: "SelectAdsRequest",
    Stage.PRICING: "QuotePricesRequest",
    Stage.ASSISTANT: "ConverseRequest",
}


class Origin(Enum):
    """For whom a stage is called. Latencies are kept apart: that of an import's batch says nothing about a query's."""

    SHOPPER = "shopper"
    # Writes, reads by id and imports. They have no limit here: their number is bounded by `reception`.
    WRITE = "write"
    BACKGROUND = "background"


class CallKind:
    """One method of a stage, called for one origin. `places` is None if the calls have no limit."""

    __slots__ = ("_probe_s", "_sent_s", "base", "places")

    def __init__(self, limits: LimitSettings, has_limit: bool) -> None:
        self._probe_s, self._sent_s = limits.probe_ms / 1e3, 0.0
        self.base = BaseLatency()
        self.places: Places | None = None
        if has_limit:
            limit = GradientLimit(limits.minimum_in_flight, limits.maximum_in_flight, _TOLERANCE, _START)
            self.places = Places(limit, newest_first=True, most_waiting=_MOST_WAITING)

    def is_worth_calling(self, timeout_s: float, now_s: float) -> bool:
        """Whether an answer may come in time. If no call was sent for a while, one is: latencies change."""
        return timeout_s >= self.base.low_s or now_s - self._sent_s >= self._probe_s

    def sent(self, now_s: float) -> None:
        self._sent_s = now_s

    def answered(self, latency_s: float, is_light: bool, now_s: float) -> Part:
        part = self._sample(latency_s, now_s)
        if is_light or self._is_lowest:
            self.base.observe(latency_s)
        return part

    def late(self, waited_s: float, is_light: bool, now_s: float) -> Part | None:
        """A time-out is a sample of its length. One that is shorter than what calls usually take says nothing."""
        if waited_s < self.base.typical_s:
            return None
        part = self._sample(waited_s, now_s)
        if is_light or self._is_lowest:
            self.base.observe(waited_s)
        return part

    def refused(self, now_s: float) -> None:
        """The stage itself had no room."""
        if self.places is not None:
            self.places.limit.sample(_REFUSED_SLOWDOWN, self.places.in_flight, now_s)

    @property
    def _is_lowest(self) -> bool:
        """At its lowest limit a stage has no load from here, so whatever it takes is its base latency."""
        return self.places is None or self.places.limit.is_lowest

    def _sample(self, latency_s: float, now_s: float) -> Part:
        base_s = self.base.typical_s if self.base.is_known else 0.0
        if self.places is not None and base_s > 0:
            self.places.limit.sample(latency_s / base_s, self.places.in_flight, now_s)
        return latency_s, base_s


class StageGuard:
    """One in a gateway for each stage."""

    def __init__(self, stage: Stage, limits: LimitSettings, metrics: Metrics) -> None:
        self.stage, self._limits, self._metrics = stage, limits, metrics
        self.breaker = CircuitBreaker(limits.failures_to_open, limits.probe_ms / 1e3)
        self.retries = RetryBudget()
        # By request type and origin: as many as the contracts of the stages have methods.
        self._kinds: dict[tuple[str, Origin], CallKind] = {}
        self._outcomes: dict[str, Counter] = {}
        self.seconds = metrics.stage_seconds.labels(stage.value)
        metrics.watch(metrics.circuit_open.labels(stage.value), lambda: self.breaker.is_open)

    @property
    def usual_s(self) -> float:
        """What the stage's main call takes without load; 0 if it is not known."""
        kind = self._kinds.get((_MAIN_CALLS[self.stage], Origin.SHOPPER))
        return kind.base.typical_s if kind is not None else 0.0

    @property
    def has_room(self) -> bool:
        """Whether a shopper's main call would have a place at once."""
        kind = self._kinds.get((_MAIN_CALLS[self.stage], Origin.SHOPPER))
        return kind is None or kind.places is None or kind.places.is_free

    def kind(self, request_type: str, origin: Origin) -> CallKind:
        kind = self._kinds.get((request_type, origin))
        if kind is None:
            kind = self._kinds[request_type, origin] = CallKind(self._limits, origin is Origin.SHOPPER)
            if kind.places is not None:
                method = request_type.removesuffix("Request")
                self._metrics.watch_limit(f"{self.stage.value}.{method}", kind.places, lambda: kind.base.typical_s)
        return kind

    def count(self, outcome: str) -> None:
        child = self._outcomes.get(outcome)
        if child is None:
            child = self._outcomes[outcome] = self._metrics.stage_calls.labels(self.stage.value, outcome)
        child.inc()
