"""The gateway refuses what it could not answer whole in time, the least important calls first."""

from __future__ import annotations

import asyncio

import pytest

from kairos.gateway.v1 import gateway_pb2
from services.common.errors import Overloaded
from services.gateway import fallbacks
from services.gateway.domain.budget import Stage
from services.gateway.domain.criticality import patience_of
from services.gateway.domain.gateway_limit import GatewayLimit
from services.gateway.domain.retry_budget import RetryBudget
from services.gateway.domain.slowdown import Work
from services.gateway.metrics import Metrics
from services.gateway.request_info import RequestInfo
from services.gateway.settings import GatewaySettings, LimitSettings
from services.gateway.stage_calls import StageAccess
from services.gateway.stage_guard import Origin
from tests.unit.gateway import virtual_time

HOLD_S, BUDGET_S = 0.02, 0.15


async def busy(limit: GatewayLimit, calls: int) -> list[asyncio.Task[None]]:
    """So many searches of 20 ms each, after one that has shown how long they take."""

    async def search() -> None:
        work = Work()
        async with limit.place("Search", BUDGET_S, 1.0, work):
            await asyncio.sleep(HOLD_S)
            work.parts.append((HOLD_S, HOLD_S))

    await search()
    tasks = [asyncio.create_task(search()) for _ in range(calls)]
    await asyncio.sleep(0)
    return tasks


def new_limit(places: int) -> GatewayLimit:
    return GatewayLimit(places, places, reserve_s=0.004, retry_after_s=0.25, clock=virtual_time.clock)


def is_refused(limit: GatewayLimit, remaining_s: float, patience: float = 1.0) -> bool:
    try:
        limit.require_room(remaining_s, patience)
    except Overloaded:
        return True
    return False


def test_only_what_can_be_answered_in_time() -> None:
    """With all places taken, a call waits if its time suffices, and is refused at once if it does not."""

    async def run() -> list[bool]:
        limit = new_limit(2)
        await busy(limit, 2)
        return [is_refused(limit, remaining_s) for remaining_s in (0.15, 0.07, 0.05)]

    assert virtual_time.run(run()) == [False, False, True]


def test_too_little_time_in_an_overload() -> None:
    """A call that can only be degraded is admitted if a place is free, but not within a second of an overload."""

    async def run() -> list[bool]:
        limit = new_limit(1)
        tasks, seen = await busy(limit, 0), [is_refused(limit, 0.02)]
        tasks = await busy(limit, 1)
        seen.append(is_refused(limit, 0.02))
        await asyncio.gather(*tasks)
        seen += [is_refused(limit, 0.02), is_refused(limit, 0.15)]
        await asyncio.sleep(1.0)
        return [*seen, is_refused(limit, 0.02)]

    assert virtual_time.run(run()) == [False, True, True, False, False]


def test_the_queue_is_as_long_as_the_time_allows() -> None:
    """Calls of 150 ms wait for half of them at most; then further ones are refused, with the time to wait."""

    async def run() -> tuple[int, float]:
        limit = new_limit(1)
        tasks = await busy(limit, 1)
        for _ in range(20):
            tasks += [asyncio.create_task(hold(limit))]
            await asyncio.sleep(0)
        waiting = limit.places.waiting
        with pytest.raises(Overloaded) as caught:
            limit.require_room(BUDGET_S, 1.0)
        await asyncio.gather(*tasks, return_exceptions=True)
        return waiting, caught.value.retry_after_s

    async def hold(limit: GatewayLimit) -> None:
        async with limit.place("Search", BUDGET_S, 1.0, Work()):
            await asyncio.sleep(HOLD_S)

    assert virtual_time.run(run()) == (3, 0.25)


def test_the_least_important_first() -> None:
    """With all places taken explanations are refused, then suggestions, anonymous recommendations and the rest."""
    known, nobody = gateway_pb2.RecommendRequest(user_id="u"), gateway_pb2.RecommendRequest()

    async def run(waiting: int) -> list[bool]:
        limit = new_limit(1)
        await busy(limit, 1 + waiting)
        calls = [
            ("ExplainItem", None),
            ("Suggest", None),
            ("Recommend", nobody),
            ("Recommend", known),
            ("Search", None),
        ]
        return [is_refused(limit, BUDGET_S, patience_of(*call)) for call in calls]

    assert virtual_time.run(run(0)) == [True, True, False, False, False]
    assert virtual_time.run(run(1)) == [True, True, True, False, False]


def test_a_call_that_waited_in_vain_goes_on() -> None:
    """A call is not refused after it has waited: at the end of its time it is answered with the fallbacks."""

    async def run() -> tuple[float, int]:
        limit = new_limit(1)
        async with limit.place("Search", BUDGET_S, 1.0, Work()), limit.place("Search", BUDGET_S, 1.0, Work()):
            return round(virtual_time.clock(), 6), limit.places.in_flight

    assert virtual_time.run(run()) == (0.138, 1)


def test_retries_are_a_tenth() -> None:
    """After ten retries in a row one is allowed for ten calls."""
    budget = RetryBudget()
    assert sum(budget.take() for _ in range(100)) == 10
    allowed = 0
    for _ in range(1_000):
        budget.sent()
        allowed += budget.take()
    assert 99 <= allowed <= 101


def test_extras_of_a_full_stage() -> None:
    """While a stage has no room, facets are not asked for, and the answer says so."""

    async def run() -> list[tuple[bool, int]]:
        limits = LimitSettings(minimum_in_flight=1, maximum_in_flight=1)
        access = StageAccess(GatewaySettings(limits=limits), Metrics(), virtual_time.clock)
        places = access.guards[Stage.RETRIEVAL].kind("RetrieveCandidatesRequest", Origin.SHOPPER).places
        seen = []
        for _ in range(2):
            calls = access.for_read(RequestInfo(), "")
            seen.append((calls.has_room_for(Stage.RETRIEVAL, fallbacks.NO_FACETS), len(calls.degradations)))
            assert places is not None
            await places.enter(0)
        return seen

    assert virtual_time.run(run()) == [(True, 0), (False, 1)]
