"""Watches the event loop: counts steps of tasks that keep it from everybody else, and measures how late its timers are.

A step is what a task does between two waits. It is measured around every step of every task by a task factory. The
thread's CPU time takes microseconds to read, so it is read by a timer, and again only when a step was long.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any

import structlog

from services.gateway.domain.quotas import TokenBucket
from services.gateway.metrics import Metrics

# The most that one step may take, of CPU time and of waiting.
MAX_STEP_S = 0.05
_PERIOD_S = 0.02
_LOGGED_STEPS_PER_S = 1

_log = structlog.get_logger("kairos.event_loop")
Clock = Callable[[], float]


class EventLoopWatch:
    """A step counts as `cpu` if it took more than MAX_STEP_S of the thread's CPU time, and as `blocked` if it was
    longer than that without using the CPU: it made a blocking call, or the machine gave the thread no CPU.

    `wall` and `cpu` are clocks in seconds; `cpu` is that of the event loop's thread.
    """

    def __init__(self, metrics: Metrics, wall: Clock = time.perf_counter, cpu: Clock = time.thread_time) -> None:
        self._metrics, self.wall, self._cpu = metrics, wall, cpu
        self._loop = asyncio.get_running_loop()
        self._before = self._loop.get_task_factory()
        self._read_at_s, self._cpu_s = wall(), cpu()
        self._timer = self._loop.call_later(_PERIOD_S, self._read_clocks)
        self._logged = TokenBucket(_LOGGED_STEPS_PER_S, _LOGGED_STEPS_PER_S)
        self._loop.set_task_factory(self._new_task)

    def close(self) -> None:
        """Tasks that are created from now on are not measured."""
        self._timer.cancel()
        self._loop.set_task_factory(self._before)

    def long_step(self, coroutine: Coroutine[Any, Any, Any], began_s: float, ended_s: float) -> None:
        """Classifies a step that took more than MAX_STEP_S."""
        # Since the clocks were last read. What ran between that and the step used at most all of that time.
        used_s = max(0.0, self._cpu() - self._cpu_s - (began_s - self._read_at_s))
        took_s = ended_s - began_s
        if used_s > MAX_STEP_S:
            kind = "cpu"
        elif took_s - used_s > MAX_STEP_S:
            kind = "blocked"
        else:
            return
        self._metrics.long_steps.labels(kind).inc()
        if not self._logged.take(ended_s):
            name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
            _log.info(
                "a step held the event loop",
                kind=kind,
                task=name,
                wall_ms=round(took_s * 1e3),
                cpu_ms=round(used_s * 1e3),
            )

    def _read_clocks(self) -> None:
        now_s = self.wall()
        self._metrics.event_loop_lag.observe(max(0.0, now_s - self._read_at_s - _PERIOD_S))
        self._read_at_s, self._cpu_s = now_s, self._cpu()
        self._timer = self._loop.call_later(_PERIOD_S, self._read_clocks)

    def _new_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Any] | Generator[Any, Any, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        return asyncio.Task(_Watched(coroutine, self), loop=loop, **options)


class _Watched(Coroutine[Any, Any, Any]):
    """A coroutine whose steps are measured."""

    __slots__ = ("_coroutine", "_send", "_wall", "_watch")

    def __init__(self, coroutine: Any, watch: EventLoopWatch) -> None:
        self._coroutine, self._send, self._watch, self._wall = coroutine, coroutine.send, watch, watch.wall

    def send(self, value: Any) -> Any:
        began_s = self._wall()
        try:
            return self._send(value)
        finally:
            ended_s = self._wall()
            if ended_s - began_s > MAX_STEP_S:
                self._watch.long_step(self._coroutine, began_s, ended_s)

    def throw(self, kind: Any, value: Any = None, traceback: TracebackType | None = None) -> Any:
        return self._coroutine.throw(kind) if value is None else self._coroutine.throw(kind, value, traceback)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError("only a task takes the steps")
