"""A control for benchmarks: publishes campaigns, and leases whatever budget is asked for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from kairos.common.v1 import common_pb2
from kairos.control.v1 import budgets_pb2, budgets_pb2_grpc, control_pb2, control_pb2_grpc


class PublishingControl(control_pb2_grpc.ControlServiceServicer, budgets_pb2_grpc.BudgetServiceServicer):
    def __init__(self, snapshot: control_pb2.Snapshot) -> None:
        self._snapshot, self._changed, self._is_stopped = snapshot, threading.Condition(), False

    def publish(self, snapshot: control_pb2.Snapshot) -> None:
        """Its version must be higher than that of the one before."""
        with self._changed:
            self._snapshot = snapshot
            self._changed.notify_all()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def WatchSnapshots(  # noqa: N802 - gRPC's name, as the next one
        self, request: Any, context: Any
    ) -> Iterator[control_pb2.WatchSnapshotsResponse]:
        sent = -1
        while not self._is_stopped and context.is_active():
            with self._changed:
                # Also looked at now and then: the caller may have gone.
                if self._snapshot.version <= sent:
                    self._changed.wait(timeout=1)
                snapshot = self._snapshot
            if snapshot.version > sent:
                sent = snapshot.version
                yield control_pb2.WatchSnapshotsResponse(snapshot=snapshot)

    def LeaseBudgets(self, request: Any, context: Any) -> budgets_pb2.LeaseBudgetsResponse:  # noqa: N802
        answer = budgets_pb2.LeaseBudgetsResponse()
        answer.lease_duration.FromSeconds(60)
        for asked in request.asked:
            answer.leased.add(campaign_id=asked.campaign_id, held=10**15)
        return answer


@contextmanager
def publishing_control(snapshot: control_pb2.Snapshot) -> Iterator[tuple[PublishingControl, str]]:
    """(control, its address)"""
    # The services ask every 10 s whether it is still there.
    options = [("grpc.http2.min_ping_interval_without_data_ms", 5_000)]
    # Nobody calls the other methods.
    control = PublishingControl(snapshot)  # type: ignore[abstract]
    server = grpc.server(ThreadPoolExecutor(8), options=options)
    control_pb2_grpc.add_ControlServiceServicer_to_server(control, server)
    budgets_pb2_grpc.add_BudgetServiceServicer_to_server(control, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield control, f"127.0.0.1:{port}"
    finally:
        control.stop()
        server.stop(None)


def cents(amount: int) -> common_pb2.Money:
    return common_pb2.Money(currency_code="USD", units=amount // 100, nanos=amount % 100 * 10_000_000)
