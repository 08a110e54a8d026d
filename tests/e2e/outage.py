"""The errors and degradations that a caller sees between a process's death and the recovery of the suite."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import grpc

from kairos.common.v1 import common_pb2
from tests.e2e.shop import Shop

QUERY = "running shoes"
# Ray restarts within 20 s on two cores without other load.
HEAL_LIMIT_S = 90.0
# Consecutive complete answers after which the suite counts as recovered.
_WHOLE_ANSWERS = 5


@dataclass
class Outage:
    """`errors` are the codes of failed calls, `degraded` the stages that were missing from an answer."""

    errors: list[grpc.StatusCode] = field(default_factory=list)
    degraded: set[common_pb2.Stage.ValueType] = field(default_factory=set)
    # Number of answers without any product.
    empty: int = 0

    def watch(self, shop: Shop) -> None:
        """Searches until a search fails or is degraded, then until searches succeed again. Fails after the limit."""
        began, whole = time.monotonic(), 0
        while whole < _WHOLE_ANSWERS:
            assert time.monotonic() - began < HEAL_LIMIT_S, f"not healed after {HEAL_LIMIT_S:.0f} s: {self}"
            # Ray's child processes end a moment after Ray: complete answers before that are not counted.
            whole = whole + 1 if self._searches(shop) and (self.errors or self.degraded) else 0
            time.sleep(0.05)

    def _searches(self, shop: Shop) -> bool:
        """Whether the search returned a complete answer."""
        try:
            answer = shop.search(QUERY)
        except grpc.RpcError as error:
            self.errors.append(error.code())
            return False
        self.empty += not answer.results
        self.degraded |= {entry.stage for entry in answer.degradations}
        return not answer.degradations
