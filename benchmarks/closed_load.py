"""Threads that search the gateway without a pause, for benchmarks that change the suite meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from kairos.common.v1 import common_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection

# Longer than the gateway's default budget: a late answer would measure the machine, not the change.
BUDGET_S = 2.0


@dataclass
class Phase:
    """What the threads observed between two changes; `seconds` [answers and errors] are latencies."""

    name: str
    seconds: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    degradations: Counter[str] = field(default_factory=Counter)


class Load:
    """`threads` take turns at `queries`; each result is counted in the phase that is current when it arrives.

    Requests name `users` in turn; without `users` each thread is a user of its own.
    """

    def __init__(self, connection: Connection, threads: int, queries: Sequence[str], users: Sequence[str] = ()) -> None:
        self._connection, self._stop = connection, threading.Event()
        self._queries, self._users = queries, users or [f"load-{number}" for number in range(threads)]
        self._lock, self._phase = threading.Lock(), Phase("before")
        self._threads = [threading.Thread(target=self._search, args=(n,), daemon=True) for n in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def enter(self, phase: Phase) -> None:
        with self._lock:
            self._phase = phase

    def _search(self, number: int) -> None:
        with self._connection.stub() as stub:
            turn = number
            while not self._stop.is_set():
                turn += len(self._threads)
                request = gateway_pb2.SearchRequest(
                    query=self._queries[turn % len(self._queries)], user_id=self._users[turn % len(self._users)]
                )
                error, degradations = "", list[str]()
                began = time.monotonic()
                try:
                    answer = stub.Search(request, timeout=BUDGET_S)
                    degradations = [_name(degradation) for degradation in answer.degradations]
                except grpc.RpcError as failure:
                    error = failure.code().name
                with self._lock:
                    self._phase.seconds.append(time.monotonic() - began)
                    self._phase.errors.update([error] if error else [])
                    self._phase.degradations.update(degradations)


def _name(degradation: common_pb2.Degradation) -> str:
    stage = common_pb2.Stage.Name(degradation.stage).removeprefix("STAGE_").lower()
    reason = common_pb2.DegradationReason.Name(degradation.reason).removeprefix("DEGRADATION_REASON_").lower()
    return f"{stage} {reason}"
