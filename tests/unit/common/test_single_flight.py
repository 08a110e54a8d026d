"""Identical work in progress is done once."""

from __future__ import annotations

import asyncio
import time

import pytest

from services.common.context import RequestContext
from services.common.errors import BudgetExpired, Conflict
from services.common.single_flight import SingleFlight

NO_LIMIT = RequestContext()


class Work:
    """Ends with what `end` sets; counts its beginnings."""

    def __init__(self) -> None:
        self.begun = 0
        self.end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def __call__(self) -> str:
        self.begun += 1
        return await self.end


class Callers:
    def __init__(self) -> None:
        self.work, self.flights = Work(), SingleFlight[str, str](lambda result: result != "degraded")

    async def call(self, key: str = "a", context: RequestContext = NO_LIMIT) -> asyncio.Task[str]:
        """A call that has begun its work or waits for another one."""
        task = asyncio.create_task(self.flights.run(key, context, self.work))
        for _ in range(3):
            await asyncio.sleep(0)
        return task


@pytest.fixture
async def callers() -> Callers:
    return Callers()


async def test_identical_work_is_done_once(callers: Callers) -> None:
    """Two calls of one key share the work; another key has its own, and so has a call after the end."""
    calls = [await callers.call(key) for key in ("a", "a", "b")]
    assert callers.work.begun == 2
    callers.work.end.set_result("done")
    assert await asyncio.gather(*calls) == ["done"] * 3
    assert await (await callers.call()) == "done"
    assert (callers.work.begun, callers.flights.shared) == (3, 1)


async def test_a_caller_that_gives_up_does_not_stop_the_others(callers: Callers) -> None:
    """The first caller is cancelled, and the second one gets the result."""
    first, second = await callers.call(), await callers.call()
    first.cancel()
    await asyncio.wait([first])
    callers.work.end.set_result("done")
    assert await second == "done"
    assert callers.work.begun == 1


async def test_work_that_nobody_waits_for_is_stopped(callers: Callers) -> None:
    """When all callers have given up, the work is cancelled; the next caller begins it again."""
    both = [await callers.call(), await callers.call()]
    for call in both:
        call.cancel()
    await asyncio.wait(both)
    later = await callers.call()
    assert (callers.work.begun, callers.work.end.cancelled()) == (2, True)
    with pytest.raises(asyncio.CancelledError):
        await later


async def test_each_caller_has_its_own_deadline(callers: Callers) -> None:
    """A caller that waits for another one fails at its own deadline; the other one goes on."""
    first = await callers.call()
    late = await callers.call(context=RequestContext(deadline_s=time.monotonic()))
    with pytest.raises(BudgetExpired):
        await late
    callers.work.end.set_result("done")
    assert await first == "done"


async def test_an_error_is_not_shared(callers: Callers) -> None:
    """If the first call fails, each one that waited for it tries itself."""
    calls = [await callers.call() for _ in range(3)]
    callers.work.end.set_exception(Conflict("no"))
    assert [type(error) for error in await asyncio.gather(*calls, return_exceptions=True)] == [Conflict] * 3
    assert (callers.work.begun, callers.flights.shared) == (3, 0)


async def test_only_whole_results_are_shared(callers: Callers) -> None:
    """A degraded result is that of the first caller alone: it may have had less time."""
    calls = [await callers.call(), await callers.call()]
    callers.work.end.set_result("degraded")
    assert await asyncio.gather(*calls) == ["degraded"] * 2
    assert callers.work.begun == 2
