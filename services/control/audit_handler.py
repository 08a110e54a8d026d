"""AuditService: check the key and its role, parse, call, wrap."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

from kairos.control.v1 import audit_pb2, audit_pb2_grpc
from services.common.errors import InvalidArgument, NotFound
from services.common.limits import id_problem
from services.control.calls import control_call
from services.control.convert import page_size_from_proto, page_token, place_of
from services.control.convert_audit import (
    entries_from_proto,
    entry_filter_from_proto,
    entry_kind_from_proto,
    entry_to_proto,
)
from services.control.domain.audit import Entry, Place
from services.control.domain.limits import MAX_ENTRY_PAGE_BYTES, MAX_RECORD_BYTES
from services.control.domain.permissions import Caller
from services.control.keyring import Keyring
from services.control.metrics import ControlMetrics
from services.control.ports import AuditStore
from services.control.threads import Threads

# RecordEntries in progress, of a process: each may have 4 MiB.
_MOST_RECORDS = 8


class AuditHandler(audit_pb2_grpc.AuditServiceServicer):
    """`clock` gives seconds since the epoch."""

    def __init__(
        self, store: AuditStore, keyring: Keyring, threads: Threads, metrics: ControlMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store, self._threads, self._clock = store, threads, clock
        self.keyring, self.metrics = keyring, metrics

    @control_call(audit_pb2.RecordEntriesResponse, most_calls=_MOST_RECORDS, most_bytes=MAX_RECORD_BYTES)
    async def RecordEntries(
        self, request: audit_pb2.RecordEntriesRequest, caller: Caller, tenant: str
    ) -> audit_pb2.RecordEntriesResponse:
        stored = await self._threads.run(self._recorded, request, tenant)
        self.metrics.audit_entries.inc(stored)
        self.metrics.audit_duplicates.inc(len(request.entries) - stored)
        return audit_pb2.RecordEntriesResponse(stored_count=stored)

    @control_call(audit_pb2.ListEntriesResponse)
    async def ListEntries(
        self, request: audit_pb2.ListEntriesRequest, caller: Caller, tenant: str
    ) -> audit_pb2.ListEntriesResponse:
        only, most = entry_filter_from_proto(request), page_size_from_proto(request.page_size)
        # As a digest: the texts together would make a long token.
        same = (hashlib.sha256(repr((tenant, only)).encode()).hexdigest()[:16],)
        place = place_of(request.page_token, same, (int, str, str))
        after = Place(*place) if place else None
        found = await self._threads.run(self._store.entries, tenant, only, after, most)
        page, size = list[Entry](), 0
        for entry in found:
            if size >= MAX_ENTRY_PAGE_BYTES:
                break
            page.append(entry)
            size += len(entry.content)
        is_last = len(found) < most and len(page) == len(found)
        last = None if is_last else page[-1].place
        return audit_pb2.ListEntriesResponse(
            entries=map(entry_to_proto, page),
            next_page_token=page_token(*same, last.recorded_us, last.kind, last.id) if last else "",
        )

    @control_call(audit_pb2.GetEntryResponse)
    async def GetEntry(
        self, request: audit_pb2.GetEntryRequest, caller: Caller, tenant: str
    ) -> audit_pb2.GetEntryResponse:
        kind = entry_kind_from_proto(request.kind)
        if problem := id_problem(request.id):
            raise InvalidArgument.of("id", problem)
        entry = await self._threads.run(self._store.entry, tenant, kind, request.id)
        if entry is None:
            raise NotFound(
                f"the database has no {kind.value} {request.id!r}; look into the archive (docs/how-to/control.md)"
            )
        return audit_pb2.GetEntryResponse(entry=entry_to_proto(entry))

    def _recorded(self, request: audit_pb2.RecordEntriesRequest, tenant: str) -> int:
        return self._store.record(tenant, entries_from_proto(request.entries, self._clock()))
