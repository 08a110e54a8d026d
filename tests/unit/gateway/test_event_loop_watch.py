"""The watch counts steps that hold the event loop, by what they did with the time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import uvloop

from services.gateway.background.event_loop_watch import EventLoopWatch
from services.gateway.metrics import Metrics


@dataclass
class Clocks:
    """Seconds that pass only when a test says so."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    def pass_by(self, wall_s: float, cpu_s: float) -> None:
        self.wall_s += wall_s
        self.cpu_s += cpu_s


@dataclass
class Watched:
    clocks: Clocks
    metrics: Metrics

    def counted(self) -> tuple[float, float]:
        """(cpu, blocked)"""
        read = self.metrics.registry.get_sample_value
        kinds = [read("kairos_gateway_event_loop_long_steps_total", {"kind": kind}) for kind in ("cpu", "blocked")]
        assert kinds[0] is not None
        assert kinds[1] is not None
        return kinds[0], kinds[1]


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    clocks, metrics = Clocks(), Metrics()
    watch = EventLoopWatch(metrics, lambda: clocks.wall_s, lambda: clocks.cpu_s)
    yield Watched(clocks, metrics)
    watch.close()


async def test_a_step_that_computes(watched: Watched) -> None:
    """A step with more than 50 ms of CPU time counts as `cpu`."""

    async def compute() -> None:
        watched.clocks.pass_by(0.08, 0.07)

    await asyncio.create_task(compute())
    assert watched.counted() == (1, 0)


async def test_a_step_that_blocks(watched: Watched) -> None:
    """A step that takes long and uses little CPU time counts as `blocked`."""

    async def block() -> None:
        watched.clocks.pass_by(0.2, 0.001)

    await asyncio.create_task(block())
    assert watched.counted() == (0, 1)


async def test_many_short_steps(watched: Watched) -> None:
    """A task that gives way in time counts nothing, however long it is."""

    async def work() -> None:
        for _ in range(100):
            watched.clocks.pass_by(0.049, 0.049)
            await asyncio.sleep(0)

    await asyncio.create_task(work())
    assert watched.counted() == (0, 0)


async def test_what_ran_before_does_not_count(watched: Watched) -> None:
    """CPU time of earlier steps is not that of a step that waits."""

    async def compute() -> None:
        watched.clocks.pass_by(0.04, 0.04)

    async def block() -> None:
        watched.clocks.pass_by(0.06, 0.002)

    await asyncio.create_task(compute())
    await asyncio.create_task(block())
    assert watched.counted() == (0, 1)


async def test_tasks_behave_as_before(watched: Watched) -> None:
    """Results, exceptions, cancellation, names and groups are those of any task."""

    async def result() -> int:
        await asyncio.sleep(0)
        return 3

    async def failure() -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    assert tuple(await asyncio.gather(result(), asyncio.create_task(result(), name="n"))) == (3, 3)
    with pytest.raises(ZeroDivisionError):
        await asyncio.create_task(failure())
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.create_task(asyncio.sleep(60))
    assert asyncio.create_task(result(), name="n").get_name() == "n"


def test_on_the_loop_of_the_gateway() -> None:
    """The same on uvloop: a long step is counted."""

    async def main() -> Watched:
        watched = Watched(Clocks(), Metrics())
        watch = EventLoopWatch(watched.metrics, lambda: watched.clocks.wall_s, lambda: watched.clocks.cpu_s)

        async def compute() -> None:
            watched.clocks.pass_by(0.1, 0.1)

        await asyncio.create_task(compute())
        watch.close()
        return watched

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()).counted() == (1, 0)
