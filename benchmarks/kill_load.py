"""The load of `benchmarks.kill`: simulated shoppers request pages and click; acknowledged calls are recorded."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_to_proto

USERS, ITEMS, DIMENSIONS, PAGE = 200, 200, 16, 8
# Each caller logs a page and a click, then pauses, so that the learner keeps up on the core that all processes share.
CALLERS, REST_S = 8, 0.25


@dataclass
class Load:
    """`events` and `pages` hold the acknowledged events and pages."""

    target: str
    seed: int
    events: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    tried_again: int = 0

    def __post_init__(self) -> None:
        self._rng, self._numbers = random.Random(self.seed), itertools.count()
        rows = np.random.default_rng(self.seed).normal(size=(ITEMS, DIMENSIONS)).astype(np.float32)
        self._vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)

    async def run(self, stop: asyncio.Event) -> None:
        async with grpc.aio.insecure_channel(self.target, [("grpc.max_reconnect_backoff_ms", 200)]) as channel:
            stub: Any = ranker_pb2_grpc.RankerServiceStub(channel)
            await asyncio.gather(*(self._shop(stub, stop) for _ in range(CALLERS)))

    async def _shop(self, stub: Any, stop: asyncio.Event) -> None:
        while not stop.is_set():
            number, user = next(self._numbers), f"user-{self._rng.randrange(USERS)}"
            rows = self._rng.sample(range(ITEMS), PAGE)
            await self._show(stub, f"ranking-{number}", user, rows)
            acted = self._rng.sample(rows, self._rng.choice((1, 1, 2, 3)))
            request = ranker_pb2.RecordEventsRequest(items=self._items(acted))
            for place, row in enumerate(acted):
                kind = self._rng.choice(("CLICK", "CLICK", "CLICK", "CART", "PURCHASE", "REMOVE", "DWELL"))
                entry = request.events.add(
                    event_id=f"event-{number}-{place}", user_id=user, item_id=f"item-{row}", quantity=1,
                    type=event_pb2.EventType.Value(f"EVENT_TYPE_{kind}"), dwell_ms=20_000,
                )  # fmt: skip
                entry.occurred_at.GetCurrentTime()
            await self._until_acknowledged(stub.RecordEvents, request)
            self.events += [entry.event_id for entry in request.events]
            await asyncio.sleep(REST_S)

    async def _show(self, stub: Any, ranking_id: str, user: str, rows: list[int]) -> None:
        """If the ranker lost the ranking before its page was logged, it is requested again, as by a gateway."""
        ranking = ranker_pb2.RankItemsRequest(user_id=user, ranking_id=ranking_id, candidates=self._items(rows))
        shown = ranker_pb2.ShownPositions(ranking_id=ranking_id, positions=range(1, PAGE + 1))
        while True:
            await self._until_acknowledged(stub.RankItems, ranking)
            answer = await self._until_acknowledged(
                stub.RecordImpressions, ranker_pb2.RecordImpressionsRequest(shown=[shown])
            )
            if not answer.missing_ranking_ids:
                self.pages.append(ranking_id)
                return

    async def _until_acknowledged(self, call: Callable[..., Any], request: Any) -> Any:
        while True:
            try:
                return await call(request, timeout=2.0)
            except grpc.aio.AioRpcError:
                self.tried_again += 1
                await asyncio.sleep(0.05)

    def _items(self, rows: list[int]) -> retrieval_pb2.Candidates:
        return retrieval_pb2.Candidates(
            ids=[f"item-{row}" for row in rows], prices=[10.0 + row for row in rows],
            categories=[f"Shelf {row % 9}" for row in rows], brands=[f"Brand {row % 7}" for row in rows],
            stocks=[-1] * len(rows), scores=[0.0] * len(rows), vectors=vectors_to_proto(self._vectors[rows], "m@1"),
        )  # fmt: skip
