"""How much of a request's time each stage may take. All times are in seconds on a monotonic clock that is passed in."""

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
    """Parts of the whole budget: `cap` is the most that the stage may take, `keep` is reserved until it is called."""

    cap: float
    keep: float


@dataclass(frozen=True)
class RequestBudget:
    """One request's time, from `received_s` to `deadline_s`."""

    received_s: float
    deadline_s: float
    shares: Mapping[Stage, StageShare]
    # Part of the whole that is reserved for joining the answer.
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
    """Median of the last latencies. Each skip lowers it, so that a stage that became fast again is called again."""

    def __init__(self, window: int = 101, shrink: float = 0.97) -> None:
        self._latencies: deque[float] = deque(maxlen=window)
        self._shrink = shrink
        self._median_s = 0.0
        self._observed = 0

    def observe(self, latency_s: float) -> None:
        self._latencies.append(latency_s)
        self._observed += 1
        # Sorting a hundred numbers at each call costs too much. The window's length cannot count: it stops at 101.
        if self._observed < 8 or self._observed % 8 == 0:
            self._median_s = statistics.median(self._latencies)

    def would_not_fit(self, timeout_s: float) -> bool:
        """Whether the stage would probably not answer in time."""
        if timeout_s >= self._median_s:
            return timeout_s <= 0
        self._median_s *= self._shrink
        return True
