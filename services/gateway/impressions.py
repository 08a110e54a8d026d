"""What was shown, logged by the gateway itself, off the hot path, into the ranker's event log."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict

import grpc
import structlog

from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.context import RequestContext
from services.common.convert import context_to_proto
from services.gateway.adapters.stage_clients import StageClients
from services.gateway.domain.budget import Stage
from services.gateway.known import joined
from services.gateway.metrics import Metrics

_QUEUE = 10_000
_BATCH = 200
_TIMEOUT_S = 5.0
_PAUSE_S = 0.2

_log = structlog.get_logger("kairos.impressions")


class ImpressionLog:
    """A bounded queue and one sender. What does not fit, or cannot be delivered twice over, is dropped and counted."""

    def __init__(self, clients: StageClients, metrics: Metrics) -> None:
        self._clients, self._metrics = clients, metrics
        self._queue: asyncio.Queue[tuple[str, event_pb2.Impressions, retrieval_pb2.Candidates]] = asyncio.Queue(_QUEUE)
        self._sender = asyncio.create_task(self._send_forever())

    def put(
        self, tenant: str, impressions: event_pb2.Impressions, items: retrieval_pb2.Candidates | None = None
    ) -> None:
        """`items` are what is known of those shown."""
        try:
            self._queue.put_nowait((tenant, impressions, items or retrieval_pb2.Candidates()))
        except asyncio.QueueFull:
            self._metrics.impressions_dropped.inc()

    async def close(self) -> None:
        """Deliver what is queued, then stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._queue.join(), _TIMEOUT_S)
        self._sender.cancel()

    async def _send_forever(self) -> None:
        while True:
            batch = [await self._queue.get()]
            # Whatever comes within a moment goes along: one write instead of many.
            await asyncio.sleep(_PAUSE_S)
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            # One model version in a call: its vectors are one tensor.
            together: dict[tuple[str, str], list[tuple[event_pb2.Impressions, retrieval_pb2.Candidates]]]
            together = defaultdict(list)
            for tenant, impressions, items in batch:
                together[tenant, items.vectors.model_version].append((impressions, items))
            for (tenant, _), entries in together.items():
                await self._send(tenant, [shown for shown, _ in entries], joined([items for _, items in entries]))
            for _ in batch:
                self._queue.task_done()

    async def _send(self, tenant: str, entries: list[event_pb2.Impressions], items: retrieval_pb2.Candidates) -> None:
        for is_last in (False, True):
            context = RequestContext("impressions", tenant, deadline_s=time.monotonic() + _TIMEOUT_S)
            request = ranker_pb2.RecordImpressionsRequest(
                context=context_to_proto(context), impressions=entries, items=items
            )
            try:
                await self._clients.ranker.RecordImpressions(
                    request, timeout=_TIMEOUT_S, metadata=(("application", Stage.RANKER.value),)
                )
                return
            except grpc.aio.AioRpcError as error:
                if is_last:
                    self._metrics.impressions_dropped.inc(len(entries))
                    _log.warning("impressions dropped", count=len(entries), code=error.code().name)
                else:
                    await asyncio.sleep(1)
