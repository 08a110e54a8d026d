"""How much of a request's time each stage may take. All times are in seconds on a monotonic clock that is passed in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Stage(Enum):
    """In the order of the flow."""

    QUERY_ENCODER = "query_encoder"
    RETRIEVAL = "retrieval"
    RANKER = "ranker"
    SPONSORED = "sponsored"
    PRICING = "pricing"
    # Has a budget of its own: no other stage is called in a turn of a conversation.
    ASSISTANT = "assistant"


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
    # Reserved for joining the answer and for its way to the caller.
    reserve_s: float

    @property
    def total_s(self) -> float:
        return self.deadline_s - self.received_s

    def timeout_s(self, stage: Stage, later: Mapping[Stage, float], now_s: float) -> float:
        """min(cap, remaining - reserve - what later stages must keep); never negative.

        `later`: the usual latency of each later stage, 0 if it is not known.
        """
        kept = self.reserve_s + sum(self._keep_s(other, usual_s) for other, usual_s in later.items())
        return max(0.0, min(self.shares[stage].cap * self.total_s, self.deadline_s - now_s - kept))

    def _keep_s(self, stage: Stage, usual_s: float) -> float:
        """The stage's part, or what it needs up to twice its part: a slow stage must not take the time of others."""
        part_s = self.shares[stage].keep * self.total_s
        return min(2 * part_s, max(part_s, usual_s))
