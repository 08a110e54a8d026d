"""Stores the orders that the ranker did not make: retrieval's order, sorted lists, popular items."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from kairos.ranker.v1 import ranker_pb2
from services.common.errors import KairosError
from services.gateway.domain.budget import Stage
from services.gateway.metrics import Metrics
from services.gateway.ports import StageStubs
from services.gateway.stage_calls import StageAccess

_TIMEOUT_S = 5.0
_MOST_AT_ONCE = 256

_log = structlog.get_logger("kairos.rankings")


class RankingWriter:
    """Sends each ranking to the ranker at once and answers without waiting for it.

    Beyond `_MOST_AT_ONCE` calls in flight a ranking is dropped: its later pages are computed again.
    """

    def __init__(self, stubs: StageStubs, access: StageAccess, metrics: Metrics) -> None:
        self._stubs, self._access, self._metrics = stubs, access, metrics
        self._running: set[asyncio.Task[None]] = set()

    def store(self, tenant: str, ranking: ranker_pb2.StoreRankingRequest) -> asyncio.Task[None] | None:
        """The task ends when the ranking is stored or has failed; None: the ranking was dropped."""
        if len(self._running) >= _MOST_AT_ONCE:
            self._metrics.rankings_dropped.inc()
            return None
        task = asyncio.create_task(self._store(tenant, ranking))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def close(self) -> None:
        """Waits for the calls in flight."""
        if self._running:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.gather(*self._running), _TIMEOUT_S)

    async def _store(self, tenant: str, ranking: ranker_pb2.StoreRankingRequest) -> None:
        calls = self._access.for_background("rankings", tenant, _TIMEOUT_S)
        try:
            await calls.call(Stage.RANKER, self._stubs.ranker.StoreRanking, ranking)
        except KairosError as error:
            self._metrics.rankings_dropped.inc()
            _log.warning("ranking not stored", error=str(error))
