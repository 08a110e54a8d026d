"""Bills in control over gRPC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import grpc

from kairos.control.v1 import budgets_pb2, budgets_pb2_grpc
from services.common.control_access import ControlAccessSettings
from services.sponsored.biller.convert import bill_from_proto, bill_to_proto
from services.sponsored.biller.ports import BillsFailed
from services.sponsored.domain.billing import BillKey, DailyBill

_TIMEOUT_S = 15.0
# Bills of one call: control takes 5,000, and other calls wait for its store meanwhile.
_BILLS = 1_000
_DENIED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


class GrpcBillBook:
    """See ports.BillBook."""

    def __init__(self, settings: ControlAccessSettings, tenant: str) -> None:
        self._channel = settings.connect()
        self._stub = budgets_pb2_grpc.BudgetServiceStub(self._channel)
        self._metadata, self._tenant = settings.metadata, tenant

    def bills(self, from_day: date) -> dict[BillKey, DailyBill]:
        request = budgets_pb2.ListBillsRequest(tenant=self._tenant, from_day=from_day.isoformat(), page_size=_BILLS)
        found = dict[BillKey, DailyBill]()
        while True:
            answer: budgets_pb2.ListBillsResponse = self._call(self._stub.ListBills, request)
            found |= {bill.key: bill for bill in map(bill_from_proto, answer.bills)}
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def record(self, bills: Sequence[DailyBill], complete_until_s: float) -> None:
        for first in range(0, len(bills) or 1, _BILLS):
            some = map(bill_to_proto, bills[first : first + _BILLS])
            request = budgets_pb2.RecordBillsRequest(tenant=self._tenant, bills=some)
            if first + _BILLS >= len(bills):
                request.complete_until.FromMicroseconds(int(complete_until_s * 1e6))
            self._call(self._stub.RecordBills, request)

    def close(self) -> None:
        self._channel.close()

    def _call(self, method: Any, request: budgets_pb2.ListBillsRequest | budgets_pb2.RecordBillsRequest) -> Any:
        try:
            return method(request, timeout=_TIMEOUT_S, metadata=self._metadata)
        except grpc.RpcError as error:
            hint = (
                "; KAIROS_BILLER_CONTROL__API_KEY needs a key with the role recorder" if error.code() in _DENIED else ""
            )
            failed = f"{type(request).__name__}: {error.code().name}: {error.details()}{hint}"
            raise BillsFailed(failed) from error
