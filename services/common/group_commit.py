"""Group commit: calls that come in during a write are written together in the next one, and share its fsync."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Entry = TypeVar("Entry")
Result = TypeVar("Result")

# Rows in one write. More would make the first call of the group wait too long for the rows of the others.
_MOST_ROWS = 2_000


class GroupCommit(Generic[Entry, Result]):
    """`write` writes entries, all or none, and gives a result for each. `rows` is the number of rows of an entry."""

    def __init__(
        self, write: Callable[[Sequence[Entry]], Sequence[Result]], rows: Callable[[Entry], int], executor: Executor
    ) -> None:
        self._write, self._rows, self._executor = write, rows, executor
        self._queue: deque[tuple[Entry, asyncio.Future[Result]]] = deque()
        self._writer: asyncio.Task[None] | None = None

    async def add(self, entry: Entry) -> Result:
        """The entry is durable when it returns; raises what the write raised."""
        written: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((entry, written))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._work())
        return await written

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while group := self._next_group():
            entries = [entry for entry, _ in group]
            try:
                results = await loop.run_in_executor(self._executor, self._write, entries)
            except Exception as error:
                for _, written in group:
                    if not written.done():
                        written.set_exception(error)
                continue
            for (_, written), result in zip(group, results, strict=True):
                if not written.done():
                    written.set_result(result)

    def _next_group(self) -> list[tuple[Entry, asyncio.Future[Result]]]:
        group: list[tuple[Entry, asyncio.Future[Result]]] = []
        rows = 0
        while self._queue and rows < _MOST_ROWS:
            entry, written = self._queue.popleft()
            # A call that was cancelled before its write is left out.
            if not written.done():
                group.append((entry, written))
                rows += self._rows(entry)
        return group
