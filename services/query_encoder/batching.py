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

# A query is encoded on the event loop itself if the last one took no more CPU time than this: switching to a thread and
# back costs up to a third of such an inference. Not by the time on the clock: where other processes are busy, the
# inference takes longer in a thread too.
ON_THE_LOOP_S = 0.004


@dataclass
class _Waiting:
    text: str
    deadline_s: float | None
    result: asyncio.Future[FloatArray]


class QueryBatcher:
    """Runs one inference at a time, in `executor` or on the event loop.

    On the event loop if a query is quickly encoded and the model has been idle for as long as that takes. When queries
    follow each other more closely, the loop stays free: it must count the calls that wait, refuse those that are too
    many, and send the answers. Expired and cancelled requests are dropped before they are batched.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], FloatArray],
        executor: Executor,
        max_batch: int,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._encode, self._clock, self._cpu_clock = encode, clock, cpu_clock
        self._executor = executor
        self._max_batch = max_batch
        self._queue: deque[_Waiting] = deque()
        self._worker: asyncio.Task[None] | None = None
        # Seconds of CPU that the last single query took, and when the last inference ended.
        self._single_query_s, self._ended_s = float("inf"), float("-inf")

    async def encode(self, text: str, deadline_s: float | None) -> FloatArray:
        """The vector of one text, shape [dimensions]. Raises BudgetExpired if the deadline passes in the queue.

        `deadline_s` is on the clock.
        """
        is_working = self._worker is not None and not self._worker.done()
        if not is_working and self._single_query_s <= min(ON_THE_LOOP_S, self._clock() - self._ended_s):
            self._require_time(deadline_s)
            vector: FloatArray = self._encode_timed([text])[0]
            return vector
        waiting = _Waiting(text, deadline_s, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if not is_working:
            self._worker = asyncio.create_task(self._work())
        return await waiting.result

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            texts = [waiting.text for waiting in batch]
            try:
                vectors = await loop.run_in_executor(self._executor, self._encode_timed, texts)
            except Exception as error:
                for waiting in batch:
                    if not waiting.result.done():
                        waiting.result.set_exception(error)
                continue
            for waiting, vector in zip(batch, np.asarray(vectors), strict=True):
                if not waiting.result.done():
                    waiting.result.set_result(vector)

    def _encode_timed(self, texts: Sequence[str]) -> FloatArray:
        began_s = self._cpu_clock()
        try:
            return self._encode(texts)
        finally:
            self._ended_s = self._clock()
            if len(texts) == 1:
                self._single_query_s = self._cpu_clock() - began_s

    def _next_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._max_batch:
            waiting = self._queue.popleft()
            if waiting.result.done():
                continue
            try:
                self._require_time(waiting.deadline_s)
            except BudgetExpired as error:
                waiting.result.set_exception(error)
                continue
            batch.append(waiting)
        return batch

    def _require_time(self, deadline_s: float | None) -> None:
        if deadline_s is not None and deadline_s <= self._clock():
            raise BudgetExpired("the budget was used up while the query waited to be encoded; set a longer deadline")
