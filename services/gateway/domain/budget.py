"""Who may spend how much of a request's time. All times in seconds, on one monotonic clock that is passed in."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum


class Stage(Enum):
    """In the order of the flow."""

    QUERY_ENCODER = "query_encoder"
    RETRIEVAL = "retrieval"
    RANKER = "ranker"
    PRICING = "pricing"


@dataclass(frozen=True)
class StageShare:
    """Parts of the whole budget: what the stage may take at most, and what is kept for it while it waits its turn."""

    cap: float
    keep: float


@dataclass(frozen=True)
class RequestBudget:
    """One request's time, from `received_s` to `deadline_s`."""

    received_s: float
    deadline_s: float
    shares: Mapping[Stage, StageShare]
    # Part of the whole that joining the answer takes.
    join: float

    @property
    def total_s(self) -> float:
        return self.deadline_s - self.received_s

    def timeout_s(self, stage: Stage, later: Iterable[Stage], now_s: float) -> float:
        """min(cap, remaining - what later stages must keep); never negative."""
        kept = self.join + sum(self.shares[other].keep for other in later)
        remaining = self.deadline_s - now_s - kept * self.total_s
        return max(0.0, min(self.shares[stage].cap * self.total_s, remaining))


class ObservedMedian:
    """Median of a stage's last latencies. Each skip shrinks it, so that a stage that became fast again is tried."""

    def __init__(self, window: int = 101, shrink: float = 0.97) -> None:
        self._latencies: deque[float] = deque(maxlen=window)
        self._shrink = shrink
        self._median_s = 0.0
        self._observed = 0

    def observe(self, latency_s: float) -> None:
        self._latencies.append(latency_s)
        self._observed += 1
        # Sorting a hundred numbers for each call would cost more than it tells. Not by their number: it stops at 101.
        if self._observed < 8 or self._observed % 8 == 0:
            self._median_s = statistics.median(self._latencies)

    def would_not_fit(self, timeout_s: float) -> bool:
        """Whether calling the stage would be doomed work."""
        if timeout_s >= self._median_s:
            return timeout_s <= 0
        self._median_s *= self._shrink
        return True
