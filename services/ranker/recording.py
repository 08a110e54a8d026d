"""Group commit: calls that come in while a write is under way go together into the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from services.ranker.domain.event import Batch

# Events in one write: beyond it the first call of the group would wait too long for the last one's rows.
_MAX_EVENTS = 2_000


class Recorder:
    """`record` writes batches, all or none, and says how many events of each were new. Nothing waits for company."""

    def __init__(self, record: Callable[[Sequence[Batch]], list[int]], executor: Executor) -> None:
        self._record, self._executor = record, executor
        self._queue: deque[tuple[Batch, asyncio.Future[int]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def record(self, batch: Batch) -> int:
        """How many events were new. They are durable when it returns; raises what the write raised."""
        recorded: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((batch, recorded))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await recorded

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while group := self._next_group():
            batches = [batch for batch, _ in group]
            try:
                counts = await loop.run_in_executor(self._executor, self._record, batches)
            except Exception as error:
                for _, recorded in group:
                    if not recorded.done():
                        recorded.set_exception(error)
                continue
            for (_, recorded), count in zip(group, counts, strict=True):
                if not recorded.done():
                    recorded.set_result(count)

    def _next_group(self) -> list[tuple[Batch, asyncio.Future[int]]]:
        group: list[tuple[Batch, asyncio.Future[int]]] = []
        events = 0
        while self._queue and events < _MAX_EVENTS:
            batch, recorded = self._queue.popleft()
            # Who has gone away meanwhile was promised nothing.
            if not recorded.done():
                group.append((batch, recorded))
                events += len(batch.events)
        return group
