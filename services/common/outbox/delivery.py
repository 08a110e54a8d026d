"""Delivers an outbox to control, in a thread of its own."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import grpc
import structlog

from kairos.control.v1 import audit_pb2
from services.common.errors import KairosError
from services.common.outbox.outbox import Outbox, StoredBatch
from services.common.periodic import Periodic
from services.common.server_access import ServerAccessSettings

_METHOD = "/kairos.control.v1.AuditService/RecordEntries"
# Of one request. Control accepts 5,000 entries and 4 MiB.
_MOST_ENTRIES, _MOST_BYTES = 2_000, 2 << 20
# Seconds that a request may take: less than a lease.
_TIMEOUT_S = 10.0
# Seconds after a failure until the next try: they double up to the largest.
_MIN_PAUSE_S, _MAX_PAUSE_S = 0.5, 30.0
# Errors about these very entries. Others go on to be delivered.
_OF_THE_ENTRIES = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED)
_OPTIONS = [
    # A control that has vanished without a word is noticed within half a minute.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]

_log = structlog.get_logger("kairos.outbox")


class Delivery:
    """Begins at once, and looks every `interval_s` seconds. Control stores an entry once, however often it arrives.

    Entries that control refuses stay in the outbox and are tried again; those behind them are delivered. `delivered`
    counts entries, `failures` calls of control or of the outbox that failed, both since this process began.
    """

    def __init__(self, outbox: Outbox, control: ServerAccessSettings, interval_s: float) -> None:
        self._outbox, self._metadata = outbox, control.metadata
        self._channel = control.connect(_OPTIONS)
        # The content of the outbox is sent as it is.
        self._record: Any = self._channel.unary_unary(
            _METHOD, response_deserializer=audit_pb2.RecordEntriesResponse.FromString
        )
        self.delivered = self.failures = 0
        self._problem = ""
        self._pause_s, self._due_s = 0.0, 0.0
        self._periodic = Periodic("outbox", self._turn, interval_s)

    def close(self) -> None:
        """Returns when the request in progress has ended. What is in the outbox stays there."""
        self._periodic.close()
        self._channel.close()

    def _turn(self, stop: threading.Event) -> None:
        if time.monotonic() < self._due_s:
            return
        try:
            problem = self._deliver_all(stop)
        except grpc.RpcError as error:
            problem = _described(error)
        except KairosError as error:
            problem = str(error)
        if not problem:
            if self._problem:
                _log.info("control takes the entries of the outbox again")
            self._problem, self._pause_s = "", 0.0
            return
        self.failures += 1
        if problem != self._problem:
            _log.warning("the outbox is not delivered; trying again", error=problem)
        self._problem = problem
        self._pause_s = min(max(2 * self._pause_s, _MIN_PAUSE_S), _MAX_PAUSE_S)
        # Several replicas do not come at the same moment.
        self._due_s = time.monotonic() + random.uniform(0.5, 1) * self._pause_s

    def _deliver_all(self, stop: threading.Event) -> str:
        """Until the outbox is empty, another process delivers, or `stop`. Returns why entries were refused, if any."""
        after = refused = ""
        while not stop.is_set():
            with self._outbox.lease() as is_mine:
                found = self._outbox.oldest(_MOST_ENTRIES, _MOST_BYTES, after) if is_mine else []
                if not found:
                    break
                after = found[-1].place
                for _, batches in groupby(
                    sorted(found, key=lambda stored: stored.batch.tenant), lambda stored: stored.batch.tenant
                ):
                    refused = self._deliver(list(batches)) or refused
        return refused

    def _deliver(self, batches: Sequence[StoredBatch]) -> str:
        """Of one tenant. Returns why some were refused; raises RpcError if control cannot take any."""
        tenant = audit_pb2.RecordEntriesRequest(tenant=batches[0].batch.tenant).SerializeToString()
        try:
            self._record(
                tenant + b"".join(stored.batch.content for stored in batches), timeout=_TIMEOUT_S,
                metadata=self._metadata,
            )  # fmt: skip
        except grpc.RpcError as error:
            if error.code() not in _OF_THE_ENTRIES:
                raise
            if len(batches) > 1 and error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                refusals = [self._deliver([stored]) for stored in batches]
                return next(filter(None, refusals), "")
            return _described(error)
        self._outbox.remove(batches)
        self.delivered += sum(stored.batch.count for stored in batches)
        return ""


def _described(error: grpc.RpcError) -> str:
    return f"{error.code().name}: {error.details()}"
