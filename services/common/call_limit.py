"""A bound on the calls that a process works on: what comes beyond it is refused at once and does not wait.

Ray Serve's own bound, `max_ongoing_requests`, counts all methods together, and calls beyond it wait in the replica
without a limit of time or number. It is therefore higher, and services/common/direct_ingress.py refuses at it.
"""

from __future__ import annotations

from types import TracebackType

from services.common.errors import Overloaded

# Calls of one method in a process, those that wait for a thread included. Twice the calls that a gateway always admits,
# and four times the threads of retrieval: at 5 ms a search the last one waits 80 ms, about the share of a budget of
# 150 ms that retrieval may use. The queue for more stands in the gateway, which knows each request's budget.
MOST_CALLS = 16
# Calls of a method of imports: the import streams of a gateway have up to 24 batches in flight.
MOST_IMPORTS = 32
# When a refused caller may try again.
RETRY_AFTER_S = 0.1


class CallLimit:
    """`with limit:` takes one of `most` places. Raises Overloaded if all are taken. For one event loop."""

    def __init__(self, name: str, most: int = MOST_CALLS) -> None:
        self._name, self._most = name, most
        self._taken = 0

    def __enter__(self) -> None:
        if self._taken >= self._most:
            raise Overloaded(
                f"{self._name}: {self._most} calls are in progress in this replica; send fewer at a time, or add "
                "replicas",
                RETRY_AFTER_S,
            )
        self._taken += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._taken -= 1
