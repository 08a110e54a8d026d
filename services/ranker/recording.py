"""Group commit: calls that come in during a write are written together in the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from services.ranker.domain.event import Batch

# Events in one write. More would make the first call of the group wait too long for the rows of the others.
_MAX_EVENTS = 2_000


class Recorder:
    """`record` writes batches, all or none, and gives the ids of each batch's new events. No call waits for others."""

    def __init__(self, record: Callable[[Sequence[Batch]], list[list[str]]], executor: Executor) -> None:
        self._record, self._executor = record, executor
        self._queue: deque[tuple[Batch, asyncio.Future[list[str]]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def record(self, batch: Batch) -> list[str]:
        """The ids of the new events. They are durable when it returns; raises what the write raised."""
        recorded: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
        self._queue.append((batch, recorded))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write())
        return await recorded

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while group := self._next_group():
            batches = [batch for batch, _ in group]
            try:
                recorded_ids = await loop.run_in_executor(self._executor, self._record, batches)
            except Exception as error:
                for _, recorded in group:
                    if not recorded.done():
                        recorded.set_exception(error)
                continue
            for (_, recorded), ids in zip(group, recorded_ids, strict=True):
                if not recorded.done():
                    recorded.set_result(ids)

    def _next_group(self) -> list[tuple[Batch, asyncio.Future[list[str]]]]:
        group: list[tuple[Batch, asyncio.Future[list[str]]]] = []
        events = 0
        while self._queue and events < _MAX_EVENTS:
            batch, recorded = self._queue.popleft()
            # A call that was cancelled before its write is left out.
            if not recorded.done():
                group.append((batch, recorded))
                events += len(batch.events)
        return group
