"""A control that takes entries over real gRPC, and keeps them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

from kairos.control.v1 import audit_pb2


class FakeAudit:
    """`stored`: the entries by tenant and id, each the first that came. While `refusal` is set every call gets it.
    Entries with an id of `refused` are INVALID_ARGUMENT, with the whole request. `received` counts entries.
    """

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], audit_pb2.AuditEntry] = {}
        self.refusal: grpc.StatusCode | None = None
        self.refused: set[str] = set()
        self.keys: set[str] = set()
        self.calls = self.received = 0

    def RecordEntries(self, request: audit_pb2.RecordEntriesRequest, context: Any) -> audit_pb2.RecordEntriesResponse:
        self.calls += 1
        if self.refusal:
            context.abort(self.refusal, "refused by the test")
        if any(entry.id in self.refused for entry in request.entries):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "entries[0].id: refused by the test")
        self.keys.add(str(dict(context.invocation_metadata()).get("authorization", "")))
        self.received += len(request.entries)
        before = len(self.stored)
        for entry in request.entries:
            self.stored.setdefault((request.tenant, entry.id), entry)
        return audit_pb2.RecordEntriesResponse(stored_count=len(self.stored) - before)


@contextmanager
def serving(audit: FakeAudit, port: int = 0) -> Iterator[int]:
    """Gives the port."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    method = grpc.unary_unary_rpc_method_handler(
        audit.RecordEntries,
        request_deserializer=audit_pb2.RecordEntriesRequest.FromString,
        response_serializer=audit_pb2.RecordEntriesResponse.SerializeToString,
    )
    service = audit_pb2.DESCRIPTOR.services_by_name["AuditService"].full_name
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"RecordEntries": method})])
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
