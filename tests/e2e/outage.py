"""What a caller sees between the death of a process and the first whole answers after it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import grpc

from kairos.common.v1 import common_pb2
from tests.e2e.shop import Shop

QUERY = "running shoes"
# Ray starts anew within 20 s where nothing else runs on two cores.
HEAL_LIMIT_S = 90.0
# So many whole answers in a row, and the suite counts as healed.
_WHOLE_ANSWERS = 5


@dataclass
class Outage:
    """`errors` are the calls that were not answered, `degraded` the stages that an answer did without."""

    errors: list[grpc.StatusCode] = field(default_factory=list)
    degraded: set[common_pb2.Stage.ValueType] = field(default_factory=set)
    # Answers without a single product.
    empty: int = 0

    def watch(self, shop: Shop) -> None:
        """Searches until an answer is not whole, and on until whole ones come again. Fails the test after the limit."""
        began, whole = time.monotonic(), 0
        while whole < _WHOLE_ANSWERS:
            assert time.monotonic() - began < HEAL_LIMIT_S, f"not healed after {HEAL_LIMIT_S:.0f} s: {self}"
            # What Ray's death takes along dies a moment later: whole answers before that tell nothing.
            whole = whole + 1 if self._searches(shop) and (self.errors or self.degraded) else 0
            time.sleep(0.05)

    def _searches(self, shop: Shop) -> bool:
        """Whether a whole answer came."""
        try:
            answer = shop.search(QUERY)
        except grpc.RpcError as error:
            self.errors.append(error.code())
            return False
        self.empty += not answer.results
        self.degraded |= {entry.stage for entry in answer.degradations}
        return not answer.degradations
