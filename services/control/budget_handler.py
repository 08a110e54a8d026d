"""BudgetService: check the key and its role, parse, call, wrap."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from kairos.control.v1 import budgets_pb2, budgets_pb2_grpc
from services.control.calls import control_call
from services.control.convert import page_size_from_proto, page_token, place_of
from services.control.convert_bills import (
    bill_filter_from_proto,
    bill_place,
    bill_to_proto,
    bills_from_proto,
    complete_us_from_proto,
    oldest_day,
)
from services.control.convert_leases import lease_call_from_proto, leases_to_proto
from services.control.domain.bills import Bill
from services.control.domain.limits import (
    DEFAULT_BILL_PAGE,
    MAX_BILL_PAGE,
    MAX_ENTRY_PAGE_BYTES,
    MAX_RECORD_BYTES,
)
from services.control.domain.permissions import Caller
from services.control.keyring import Keyring
from services.control.metrics import ControlMetrics
from services.control.ports import BillStore, LeaseStore
from services.control.threads import Threads

# RecordBills in progress, of a process: each may have 4 MiB.
_MOST_RECORDS = 8


class BudgetHandler(budgets_pb2_grpc.BudgetServiceServicer):
    """`clock` gives seconds since the epoch."""

    def __init__(
        self, bills: BillStore, leases: LeaseStore, keyring: Keyring, threads: Threads, metrics: ControlMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._bills, self._leases, self._threads, self._clock = bills, leases, threads, clock
        self.keyring, self.metrics = keyring, metrics

    @control_call(budgets_pb2.RecordBillsResponse, most_calls=_MOST_RECORDS, most_bytes=MAX_RECORD_BYTES)
    async def RecordBills(
        self, request: budgets_pb2.RecordBillsRequest, caller: Caller, tenant: str
    ) -> budgets_pb2.RecordBillsResponse:
        stored = await self._threads.run(self._recorded, request, tenant)
        return budgets_pb2.RecordBillsResponse(stored_count=stored)

    @control_call(budgets_pb2.ListBillsResponse)
    async def ListBills(
        self, request: budgets_pb2.ListBillsRequest, caller: Caller, tenant: str
    ) -> budgets_pb2.ListBillsResponse:
        only = bill_filter_from_proto(request)
        most = page_size_from_proto(request.page_size, DEFAULT_BILL_PAGE, MAX_BILL_PAGE)
        same = (hashlib.sha256(repr((tenant, only)).encode()).hexdigest()[:16],)
        place = place_of(request.page_token, same, (str, str))
        after = bill_place(*place) if place else None
        found = await self._threads.run(self._bills.bills, tenant, only, after, most)
        return _page(found, most, same)

    @control_call(budgets_pb2.LeaseBudgetsResponse, most_bytes=MAX_RECORD_BYTES)
    async def LeaseBudgets(
        self, request: budgets_pb2.LeaseBudgetsRequest, caller: Caller, tenant: str
    ) -> budgets_pb2.LeaseBudgetsResponse:
        return await self._threads.run(self._leased, request, tenant)

    def _leased(self, request: budgets_pb2.LeaseBudgetsRequest, tenant: str) -> budgets_pb2.LeaseBudgetsResponse:
        now_s = self._clock()
        call = lease_call_from_proto(request, now_s)
        return leases_to_proto(self._leases.lease(tenant, call, int(now_s * 1e6)))

    def _recorded(self, request: budgets_pb2.RecordBillsRequest, tenant: str) -> int:
        now_s = self._clock()
        bills, complete_us = bills_from_proto(request, now_s), complete_us_from_proto(request, now_s)
        return self._bills.record(tenant, bills, oldest_day(now_s), complete_us)


def _page(found: list[Bill], most: int, same: tuple[str]) -> budgets_pb2.ListBillsResponse:
    answer, size = budgets_pb2.ListBillsResponse(), 0
    for bill in found:
        message = bill_to_proto(bill)
        size += message.ByteSize()
        if answer.bills and size > MAX_ENTRY_PAGE_BYTES:
            break
        answer.bills.append(message)
    if found and (len(found) == most or len(answer.bills) < len(found)):
        last = found[len(answer.bills) - 1]
        answer.next_page_token = page_token(*same, last.campaign_id, last.day.isoformat())
    return answer
