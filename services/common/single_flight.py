"""Identical work in progress is done once: later callers wait for the first one's result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from services.common.context import RequestContext
from services.common.errors import BudgetExpired

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")


@dataclass
class _Flight(Generic[Result]):
    task: asyncio.Task[Result]
    callers: int = 0


class SingleFlight(Generic[Key, Result]):
    """For one event loop. Work of equal keys must have equal results.

    `is_shareable`: whether others than the first caller may have a result. The first caller's budget may have been too
    short for a whole one.
    """

    def __init__(self, is_shareable: Callable[[Result], bool] = lambda _: True) -> None:
        self._is_shareable = is_shareable
        self._flights: dict[Key, _Flight[Result]] = {}
        # Callers that got the result of another one.
        self.shared = 0

    async def run(self, key: Key, context: RequestContext, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of `work`, or that of the same work that is in progress. Raises what `work` raises.

        A caller that is cancelled does not stop the work while others wait for it. A caller that waits for another one
        gets BudgetExpired at its own deadline, and works itself if the other one fails.
        """
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.create_task(work()))
            flight.task.add_done_callback(lambda _: self._end(key, flight))
            return await self._result_of(key, flight)
        remaining_s = context.remaining_s()
        try:
            async with asyncio.timeout(None if remaining_s == float("inf") else max(0.0, remaining_s)):
                result = await self._result_of(key, flight)
        except Exception:
            if context.remaining_s() <= 0:
                raise BudgetExpired("the budget was used up while an identical request was answered") from None
        else:
            if self._is_shareable(result):
                self.shared += 1
                return result
        return await work()

    async def _result_of(self, key: Key, flight: _Flight[Result]) -> Result:
        flight.callers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.callers -= 1
            if not flight.callers:
                # Nobody waits any more. A new caller must not join work that is being cancelled.
                self._end(key, flight)
                flight.task.cancel()

    def _end(self, key: Key, flight: _Flight[Result]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
