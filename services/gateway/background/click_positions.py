"""Finds the position of each clicked product in its stored ranking, for the metrics of the shop."""

from __future__ import annotations

import asyncio
import functools
import math

from kairos.ranker.v1 import ranker_pb2
from services.common.errors import KairosError
from services.gateway.background.supervisor import Supervisor
from services.gateway.domain.budget import Stage
from services.gateway.metrics import Metrics
from services.gateway.ports import StageStubs
from services.gateway.stage_calls import StageAccess

_TIMEOUT_S = 1.0
_MOST_AT_ONCE = 32
# The most rows that GetRanking returns.
_ROWS = 100


class ClickPositions:
    """Counts a click as `located` with its gain, or as `attributed` if its position cannot be read in time."""

    def __init__(self, stubs: StageStubs, access: StageAccess, metrics: Metrics, supervisor: Supervisor) -> None:
        self._stubs, self._access, self._metrics, self._supervisor = stubs, access, metrics, supervisor
        self._running: set[asyncio.Task[None]] = set()

    def count(self, tenant: str, ranking_id: str, item_id: str) -> None:
        """Returns at once. Beyond `_MOST_AT_ONCE` look-ups in flight the click is only `attributed`."""
        if len(self._running) >= _MOST_AT_ONCE:
            self._metrics.clicks.labels("attributed").inc()
            return
        task = self._supervisor.once("clicks", functools.partial(self._count, tenant, ranking_id, item_id))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _count(self, tenant: str, ranking_id: str, item_id: str) -> None:
        position = await self._position(tenant, ranking_id, item_id)
        if position is None:
            self._metrics.clicks.labels("attributed").inc()
            return
        self._metrics.clicks.labels("located").inc()
        # NDCG of the ranking if the clicked product were the only relevant one.
        self._metrics.click_gain.inc(1 / math.log2(1 + position))

    async def _position(self, tenant: str, ranking_id: str, item_id: str) -> int | None:
        """1-based; None: the ranking has expired, does not hold the product or was not read in time."""
        calls, offset, count = self._access.for_background("clicks", tenant, _TIMEOUT_S), 0, 1
        try:
            while offset < count:
                message = ranker_pb2.GetRankingRequest(ranking_id=ranking_id, offset=offset, limit=_ROWS)
                rows = await calls.call(Stage.RANKER, self._stubs.ranker.GetRanking, message)
                if item_id in rows.item_ids:
                    return offset + list(rows.item_ids).index(item_id) + 1
                offset, count = offset + _ROWS, rows.ranked_count
        except KairosError:
            pass
        return None
