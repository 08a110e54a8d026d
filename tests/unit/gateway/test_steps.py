"""Long work gives way to other tasks."""

from __future__ import annotations

import asyncio

from services.gateway.steps import in_steps


async def turns_of_another_task(milliseconds_each: float) -> int:
    """How often another task runs while hundred items are worked on."""
    clock_s, turns = 0.0, 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())

    def clock() -> float:
        return clock_s

    async for _ in in_steps(range(100), clock):
        clock_s += milliseconds_each / 1e3
    task.cancel()
    return turns


async def test_slow_items() -> None:
    """Items of 1 ms: another task has its turn after every few of them."""
    assert 16 <= await turns_of_another_task(1.0) <= 20


async def test_fast_items() -> None:
    """Items of a microsecond are worked on without a pause."""
    assert await turns_of_another_task(0.001) == 0


async def test_every_item_once() -> None:
    """The items come in their order, each once, whether or not there are pauses."""
    clock_s = 0.0

    def clock() -> float:
        nonlocal clock_s
        clock_s += 0.003
        return clock_s

    assert [item async for item in in_steps(range(50), clock)] == list(range(50))
