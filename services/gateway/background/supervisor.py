"""One supervisor for all background work: a failure is logged and counted, and lasting work starts again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from services.gateway.metrics import BACKGROUND_TASKS, Metrics

_PAUSE_S = 1.0

_log = structlog.get_logger("kairos.background")
Work = Callable[[], Coroutine[Any, Any, None]]


class Supervisor:
    """Needs a running event loop. `pause_s` is the time before a restart."""

    def __init__(self, metrics: Metrics, pause_s: float = _PAUSE_S) -> None:
        self._failures, self._pause_s = metrics.background_failures, pause_s
        self._running = set[asyncio.Task[None]]()

    def keep(self, name: str, work: Work) -> asyncio.Task[None]:
        """Runs `work` until the task is cancelled, and again after each failure. Work that returns has failed too."""
        return self._start(self._keep(name, work))

    def once(self, name: str, work: Work) -> asyncio.Task[None]:
        """Runs `work` in a task that never fails."""
        return self._start(self._guard(name, work))

    def failed(self, name: str, what: str) -> None:
        """Counts a failure that the work has handled itself, and logs the exception that is being handled."""
        assert name in BACKGROUND_TASKS
        self._failures.labels(name).inc()
        _log.exception(what, task=name)

    def close(self) -> None:
        """Cancels everything that runs."""
        for task in self._running:
            task.cancel()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        # The event loop itself does not keep a task alive.
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _keep(self, name: str, work: Work) -> None:
        while True:
            try:
                await work()
                raise RuntimeError("the work has returned")
            except Exception:
                self.failed(name, "background work failed; it starts again")
            await asyncio.sleep(self._pause_s)

    async def _guard(self, name: str, work: Work) -> None:
        try:
            await work()
        except Exception:
            self.failed(name, "background work failed")
