"""Leases of budgets from control, over blocking gRPC."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from kairos.control.v1 import budgets_pb2, budgets_pb2_grpc
from services.common.control_access import ControlAccessSettings
from services.common.errors import Unavailable
from services.sponsored.ports import AskedLease, Leased, LeasedBudget

# Less than a lease: a control that is down takes no lease away before it ends.
_TIMEOUT_S = 2.0
# Control counts in millionths of a minor unit, at most so many.
_MILLIONTHS, _MOST = 1_000_000, 9 * 10**18
_OPTIONS = [
    # 10,000 campaigns.
    ("grpc.max_receive_message_length", 24 << 20),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


class GrpcBudgets:
    """See ports.BudgetOwner. `replica_id`: another one at each start."""

    def __init__(self, settings: ControlAccessSettings, replica_id: str) -> None:
        self._channel = settings.connect(_OPTIONS)
        self._stub = budgets_pb2_grpc.BudgetServiceStub(self._channel)
        self._metadata, self._replica_id = settings.metadata, replica_id
        self._calls, self._lock = 0, threading.Lock()

    def lease(
        self, tenant: str, asked: Sequence[AskedLease], counted: Mapping[int, int], traffic_from: int
    ) -> Leased:  # fmt: skip
        with self._lock:
            self._calls += 1
            request = budgets_pb2.LeaseBudgetsRequest(
                tenant=tenant, replica_id=self._replica_id, call_number=self._calls, traffic_from=traffic_from,
                traffic=[
                    budgets_pb2.CountedTraffic(interval=interval, requests=requests)
                    for interval, requests in counted.items()
                ],
            )  # fmt: skip
            for one in asked:
                _add(request, one)
            try:
                answer = self._stub.LeaseBudgets(request, timeout=_TIMEOUT_S, metadata=self._metadata)
            except grpc.RpcError as error:
                hint = ""
                if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                    hint = "; KAIROS_SPONSORED_CONTROL__API_KEY needs a key with the role recorder"
                raise Unavailable(f"LeaseBudgets: {error.code().name}: {error.details()}{hint}") from error
        return _leased(answer)

    def close(self) -> None:
        self._channel.close()


def _add(request: budgets_pb2.LeaseBudgetsRequest, one: AskedLease) -> None:
    message = request.asked.add(
        campaign_id=one.campaign_id,
        day=one.day.isoformat(),
        # Rounded up: never less than was used.
        used=_millionths(math.ceil(one.used * _MILLIONTHS)),
        held=_millionths(round(one.held * _MILLIONTHS)),
        day_limit=_millionths(int(one.day_limit * _MILLIONTHS)),
        hour_limit=_millionths(int(one.hour_limit * _MILLIONTHS)),
        hour_from=one.hour_from,
        least=_millionths(int(one.least * _MILLIONTHS)),
    )
    if one.total_limit is not None:
        message.total_limit = _millionths(int(one.total_limit * _MILLIONTHS))


def _leased(answer: Any) -> Leased:
    budgets = {
        one.campaign_id: LeasedBudget(
            one.held / _MILLIONTHS, one.value_on_day // _MILLIONTHS, one.value_of_week // _MILLIONTHS,
            one.sales_of_week // _MILLIONTHS,
        )
        for one in answer.leased
    }  # fmt: skip
    return Leased(
        budgets, answer.lease_duration.ToNanoseconds() / 1e9, dict(enumerate(answer.traffic, answer.traffic_from))
    )


def _millionths(amount: int) -> int:
    return min(max(0, amount), _MOST)
