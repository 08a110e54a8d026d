"""The calls that a load benchmark makes, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import grpc

from benchmarks.load_traffic import Arrival, Kind
from kairos.common.v1 import common_pb2

# A gRPC client ends a call at its deadline. An answer that comes within so many seconds after it still counts.
GRACE_S = 0.005
# Degradations that a query or a catalogue causes, without load and without a fault.
_OF_CONTENT = frozenset(
    {
        common_pb2.DEGRADATION_REASON_UNKNOWN_LANGUAGE,
        common_pb2.DEGRADATION_REASON_MODEL_VERSION_MISMATCH,
        common_pb2.DEGRADATION_REASON_NO_PICTURE,
        common_pb2.DEGRADATION_REASON_RANKING_EXPIRED,
    }
)
OK, REFUSED = grpc.StatusCode.OK.name, grpc.StatusCode.RESOURCE_EXHAUSTED.name
LATE = grpc.StatusCode.DEADLINE_EXCEEDED.name


@dataclass(frozen=True)
class Call:
    """What became of one call. Times are in seconds."""

    kind: int
    # From the begin of the phase.
    due_s: float
    # By which the call was sent late.
    lag_s: float
    # From the time when the call was due until it ended.
    latency_s: float
    # Name of the gRPC code.
    code: str = OK
    # "stage reason" of each degradation that load or a fault causes.
    degradations: tuple[str, ...] = ()
    # Whether an error said when to try again.
    retry_info: bool = False

    @property
    def whole(self) -> bool:
        """Answered, and nothing degraded."""
        return self.code == OK and not self.degradations


@dataclass
class Calls:
    """The calls of a phase, in the order in which they were sent."""

    ended: list[Call] = field(default_factory=list)
    # CPU of the client's process, and wall-clock time, until the last call ended.
    cpu_s: float = 0.0
    took_s: float = 0.0
    # Begin of the phase, by the monotonic clock of the machine.
    began_s: float = 0.0

    def between(self, from_s: float, to_s: float) -> Calls:
        """The calls that were due in [from_s, to_s)."""
        return replace(self, ended=[call for call in self.ended if from_s <= call.due_s < to_s])


@dataclass(frozen=True)
class Offer:
    """Calls to make. `in_flight`: so many at a time for `seconds` (closed loop); 0: each when it is due (open loop)."""

    target: str
    kinds: tuple[Kind, ...]
    arrivals: list[Arrival]
    # Deadline of each call.
    budget_s: float
    in_flight: int = 0
    seconds: float = 0.0


def degradations_of(answer: Any) -> tuple[str, ...]:
    """ "stage reason" of each degradation that load or a fault causes."""
    return tuple(
        f"{common_pb2.Stage.Name(entry.stage).removeprefix('STAGE_').lower()} "
        f"{common_pb2.DegradationReason.Name(entry.reason).removeprefix('DEGRADATION_REASON_').lower()}"
        for entry in getattr(answer, "degradations", ())
        if entry.reason not in _OF_CONTENT
    )
