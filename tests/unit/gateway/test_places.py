"""Calls hold places up to the limit; further ones wait in a short queue, or not at all."""

from __future__ import annotations

import asyncio
import random

from services.gateway.domain.gradient_limit import GradientLimit
from services.gateway.domain.places import Places
from tests.unit.gateway import virtual_time


def places(limit: int, newest_first: bool = True, most_waiting: int = 16) -> Places:
    return Places(GradientLimit(limit, limit, tolerance=2, start=limit), newest_first, most_waiting)


async def arrivals(of: Places, patience_s: float, *names: str) -> tuple[list[str], list[asyncio.Task[None]]]:
    """Calls that come one after the other while all places are taken; the list gets those that are served, in order."""
    served = list[str]()

    async def call(name: str) -> None:
        if await of.enter(patience_s):
            served.append(name)
            of.leave()

    tasks = [asyncio.create_task(call(name)) for name in names]
    await asyncio.sleep(0)
    return served, tasks


def test_at_once_or_not_at_all() -> None:
    """Up to the limit calls enter; without patience one more does not, until one has left."""

    async def run() -> list[bool]:
        two = places(2)
        entered = [await two.enter(0) for _ in range(3)]
        two.leave()
        return [*entered, await two.enter(0)]

    assert virtual_time.run(run()) == [True, True, False, True]


def test_the_newest_first() -> None:
    """The call that came last has the most time left, so it is served first."""

    async def run(newest_first: bool) -> list[str]:
        one = places(1, newest_first)
        await one.enter(0)
        served, tasks = await arrivals(one, 1.0, "a", "b", "c")
        one.leave()
        await asyncio.wait(tasks)
        return served

    assert virtual_time.run(run(True)) == ["c", "b", "a"]
    assert virtual_time.run(run(False)) == ["a", "b", "c"]


def test_the_wait_ends() -> None:
    """A call that could not finish any more is told so when its patience ends."""

    async def run() -> tuple[bool, float, int]:
        one = places(1)
        await one.enter(0)
        return await one.enter(0.05), virtual_time.clock(), one.waiting

    assert virtual_time.run(run()) == (False, 0.05, 0)


def test_a_full_queue_drops_the_oldest() -> None:
    """One call more than may wait ends the wait of the one that came first."""

    async def run() -> list[str]:
        one = places(1, most_waiting=2)
        await one.enter(0)
        served, tasks = await arrivals(one, 1.0, "a", "b", "c")
        one.leave()
        await asyncio.wait(tasks)
        return served

    assert virtual_time.run(run()) == ["c", "b"]


def test_in_a_standing_queue_nobody_waits_long() -> None:
    """A queue that has not been empty for a tenth of a second is left after 5 ms: it absorbs no burst."""

    async def run() -> list[float]:
        one, waits = places(1), list[float]()
        await one.enter(0)
        blocked = asyncio.create_task(one.enter(10.0))
        for _ in range(2):
            began = virtual_time.clock()
            await one.enter(0.2)
            waits.append(round(virtual_time.clock() - began, 6))
        blocked.cancel()
        return waits

    assert virtual_time.run(run()) == [0.2, 0.005]


def test_no_place_is_lost() -> None:
    """Calls that come, go, give up and are cancelled in any order: never more than the limit, and at the end all places
    are free."""

    async def call(of: Places, draw: random.Random) -> None:
        if await of.enter(draw.random() * 0.1):
            assert of.in_flight <= 3
            try:
                await asyncio.sleep(draw.random() * 0.1)
            finally:
                of.leave()

    async def run(seed: int) -> tuple[int, int]:
        draw, three, tasks = random.Random(seed), places(3, newest_first=bool(seed % 2)), list[asyncio.Task[None]]()
        for _ in range(200):
            tasks.append(asyncio.create_task(call(three, draw)))
            await asyncio.sleep(draw.random() * 0.02)
            if draw.random() < 0.3:
                draw.choice(tasks).cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError)
        return three.in_flight, three.waiting

    assert {virtual_time.run(run(seed)) for seed in range(10)} == {(0, 0)}
