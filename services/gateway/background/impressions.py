"""Logs which positions of which ranking were shown, in batches, without a request waiting for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from kairos.ranker.v1 import ranker_pb2
from services.common.errors import KairosError
from services.gateway.background.rankings import OVERHEAD_BYTES
from services.gateway.background.supervisor import Supervisor
from services.gateway.domain.budget import Stage
from services.gateway.metrics import Metrics
from services.gateway.ports import StageStubs
from services.gateway.stage_calls import StageAccess

_BATCH = 200
_TIMEOUT_S = 5.0
# Pages that follow within this time go in the same call.
_COLLECT_S = 0.2
# Before the second and the third try.
_PAUSES_S = (1.0, 2.0)

_log = structlog.get_logger("kairos.impressions")


class _Entry(NamedTuple):
    tenant: str
    size: int
    shown: ranker_pb2.ShownPositions
    # Stores the ranking; None: the ranker has it already.
    storing: asyncio.Task[None] | None


class ImpressionLog:
    """A queue of at most `most_bytes` and one sender.

    An entry that does not fit or fails three times is dropped and counted.
    """

    def __init__(
        self, stubs: StageStubs, access: StageAccess, metrics: Metrics, supervisor: Supervisor, most_bytes: float
    ) -> None:
        self._stubs, self._access, self._metrics, self._supervisor = stubs, access, metrics, supervisor
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue()
        self._bytes, self._most_bytes = 0, most_bytes
        self._sender = supervisor.keep("impressions", self._send_forever)

    def put(self, tenant: str, shown: ranker_pb2.ShownPositions, storing: asyncio.Task[None] | None = None) -> None:
        """The entry is sent after `storing` has ended: the ranker logs only positions of rankings that it has."""
        size = shown.ByteSize() + OVERHEAD_BYTES
        if self._bytes + size > self._most_bytes:
            self._metrics.impressions_dropped.inc()
            return
        self._hold(size)
        self._queue.put_nowait(_Entry(tenant, size, shown, storing))

    async def close(self) -> None:
        """Sends what is queued, then stops."""
        await self._queue.join()
        self.cancel()

    def cancel(self) -> None:
        """Stops without sending."""
        self._sender.cancel()

    async def _send_forever(self) -> None:
        while True:
            batch = [await self._queue.get()]
            await asyncio.sleep(_COLLECT_S)
            # While shoppers wait, impressions wait too: they are the first to be dropped if it lasts.
            while self._access.limit.places.waiting:  # noqa: ASYNC110 - calls of all kinds make room
                await asyncio.sleep(_COLLECT_S)
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                await self._send_batch(batch)
            finally:
                for entry in batch:
                    self._queue.task_done()
                    self._hold(-entry.size)

    async def _send_batch(self, batch: Sequence[_Entry]) -> None:
        by_tenant: dict[str, list[ranker_pb2.ShownPositions]] = defaultdict(list)
        for entry in batch:
            if entry.storing is not None:
                await asyncio.wait([entry.storing])
            by_tenant[entry.tenant].append(entry.shown)
        for tenant, shown in by_tenant.items():
            try:
                await self._send(tenant, shown)
            except Exception:  # a defect with one tenant's entries must not drop those of others
                self._drop(len(shown), "internal error")
                self._supervisor.failed("impressions", f"impressions of {tenant} could not be sent")

    def _hold(self, size: int) -> None:
        self._bytes += size
        self._metrics.background_bytes.labels("impressions").set(self._bytes)

    async def _send(self, tenant: str, shown: Sequence[ranker_pb2.ShownPositions]) -> None:
        message = ranker_pb2.RecordImpressionsRequest(shown=shown)
        for pause_s in (*_PAUSES_S, None):
            calls = self._access.for_background("impressions", tenant, _TIMEOUT_S)
            try:
                answer = await calls.call(Stage.RANKER, self._stubs.ranker.RecordImpressions, message)
            except KairosError as error:
                if pause_s is None:
                    self._drop(len(shown), str(error))
                else:
                    await asyncio.sleep(pause_s)
            else:
                if answer.missing_ranking_ids:
                    self._drop(len(answer.missing_ranking_ids), "the rankings have expired")
                return

    def _drop(self, count: int, reason: str) -> None:
        self._metrics.impressions_dropped.inc(count)
        _log.warning("impressions dropped", count=count, reason=reason)
