"""Dynamic batching without a waiting time: queries that arrive while the model is busy become the next batch."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from services.common.arrays import FloatArray
from services.common.errors import BudgetExpired

# A single query is encoded on the event loop itself if the last one took no longer than this: switching to a thread and
# back costs about a third of such an inference. Queries that arrive meanwhile would wait for the model anyway.
ON_THE_LOOP_S = 0.004


@dataclass
class _Waiting:
    text: str
    deadline_s: float | None
    result: asyncio.Future[FloatArray]


class QueryBatcher:
    """Runs one inference at a time: in `executor`, or on the event loop if a single query is quickly encoded.

    Expired and cancelled requests are dropped before they are batched.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], FloatArray],
        executor: Executor,
        max_batch: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._encode, self._clock = encode, clock
        self._executor = executor
        self._max_batch = max_batch
        self._queue: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None
        # Seconds that the last single query took.
        self._single_query_s = float("inf")

    async def encode(self, text: str, deadline_s: float | None) -> FloatArray:
        """The vector of one text, shape [dimensions]. Raises BudgetExpired if the deadline passes in the queue."""
        waiting = _Waiting(text, deadline_s, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await waiting.result

    async def _work(self) -> None:
        while batch := self._next_batch():
            try:
                vectors = await self._encode_batch([waiting.text for waiting in batch])
            except Exception as error:
                for waiting in batch:
                    if not waiting.result.done():
                        waiting.result.set_exception(error)
                continue
            for waiting, vector in zip(batch, np.asarray(vectors), strict=True):
                if not waiting.result.done():
                    waiting.result.set_result(vector)

    async def _encode_batch(self, texts: list[str]) -> FloatArray:
        if len(texts) > 1:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._encode, texts)
        if self._single_query_s > ON_THE_LOOP_S:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._encode_single, texts)
        return self._encode_single(texts)

    def _encode_single(self, texts: list[str]) -> FloatArray:
        began = self._clock()
        try:
            return self._encode(texts)
        finally:
            self._single_query_s = self._clock() - began

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._max_batch:
            waiting = self._queue.popleft()
            if waiting.result.done():
                continue
            if waiting.deadline_s is not None and waiting.deadline_s <= time.monotonic():
                waiting.result.set_exception(
                    BudgetExpired("the budget was used up while the query waited in the queue")
                )
                continue
            batch.append(waiting)
        return batch
