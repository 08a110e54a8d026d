"""Stores the orders that the ranker did not make: retrieval's order, sorted lists, popular items."""

from __future__ import annotations

import asyncio
import functools

import structlog

from kairos.ranker.v1 import ranker_pb2
from services.common.errors import KairosError
from services.gateway.background.supervisor import Supervisor
from services.gateway.domain.budget import Stage
from services.gateway.domain.experiments import NOT_ASSIGNED, Assignment
from services.gateway.metrics import Metrics
from services.gateway.ports import StageStubs
from services.gateway.stage_calls import StageAccess

_TIMEOUT_S = 5.0
_MOST_AT_ONCE = 256
# Of one entry, in addition to its encoded message: the message's objects and the task.
OVERHEAD_BYTES = 2_048

_log = structlog.get_logger("kairos.rankings")


class RankingWriter:
    """Sends each ranking to the ranker at once and answers without waiting for it.

    Beyond `_MOST_AT_ONCE` calls or `most_bytes` in flight a ranking is dropped: its later pages are computed again.
    """

    def __init__(
        self, stubs: StageStubs, access: StageAccess, metrics: Metrics, supervisor: Supervisor, most_bytes: float
    ) -> None:
        self._stubs, self._access, self._metrics, self._supervisor = stubs, access, metrics, supervisor
        self._running: set[asyncio.Task[None]] = set()
        self._bytes, self._most_bytes = 0, most_bytes

    def store(
        self, tenant: str, ranking: ranker_pb2.StoreRankingRequest, assignment: Assignment = NOT_ASSIGNED
    ) -> asyncio.Task[None] | None:
        """The task ends when the ranking is stored or has failed; None: the ranking was dropped."""
        size = ranking.ByteSize() + OVERHEAD_BYTES
        if len(self._running) >= _MOST_AT_ONCE or self._bytes + size > self._most_bytes:
            self._metrics.rankings_dropped.inc()
            return None
        self._hold(size)
        task = self._supervisor.once("rankings", functools.partial(self._store, tenant, ranking, assignment))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: self._hold(-size))
        return task

    async def close(self) -> None:
        """Waits for the calls in flight."""
        await asyncio.gather(*self._running)

    def _hold(self, size: int) -> None:
        self._bytes += size
        self._metrics.background_bytes.labels("rankings").set(self._bytes)

    async def _store(self, tenant: str, ranking: ranker_pb2.StoreRankingRequest, assignment: Assignment) -> None:
        calls = self._access.for_background("rankings", tenant, _TIMEOUT_S, assignment=assignment)
        try:
            await calls.call(Stage.RANKER, self._stubs.ranker.StoreRanking, ranking)
        except KairosError as error:
            self._metrics.rankings_dropped.inc()
            _log.warning("ranking not stored", error=str(error))
