"""The gateway's own limit: how many calls of shoppers are worked on, and which ones are refused. Times are in seconds.

In an overload of the whole suite this limit binds before those of the stages: what is admitted is answered whole, and
the rest is refused before its message is received.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from services.common.errors import Overloaded
from services.gateway.domain.base_latency import BaseLatency
from services.gateway.domain.gradient_limit import GradientLimit
from services.gateway.domain.places import Places
from services.gateway.domain.slowdown import Work, slowdown

_TOLERANCE, _START = 1.5, 8
# Up to so many calls, or a quarter of the limit, are no load: their latencies are base latencies.
_LIGHT, _LIGHT_SHARE = 2, 0.25
# While calls are refused and none was measured without load for so long, the limit is lowered to measure some. The
# first time this comes sooner: a gateway that starts in an overload knows no latency at all.
_UNMEASURED_S, _FIRST_UNMEASURED_S = 10.0, 0.5
# A call may wait until the rest of its time is twice what calls take on average, and for half of its time at most.
_MARGIN = 2.0
_MOST_WAITING = 256
# For so long after a call has found all places taken, a call that would be degraded for lack of time is refused.
_OVERLOAD_S = 1.0
_MOST_OWN_SLOWDOWN = 3.0
_SMOOTHING = 0.1


class GatewayLimit:
    """`clock` is monotonic, in seconds. `reserve_s`: see the property, without load."""

    def __init__(
        self, minimum: int, maximum: int, reserve_s: float, retry_after_s: float, clock: Callable[[], float]
    ) -> None:
        self.places = Places(
            GradientLimit(minimum, maximum, _TOLERANCE, _START), newest_first=False, most_waiting=_MOST_WAITING
        )
        self._reserve_s, self._retry_after_s, self._clock = reserve_s, retry_after_s, clock
        self._overloaded_until_s = clock()
        self._measured_s = clock() - _UNMEASURED_S + _FIRST_UNMEASURED_S
        # Of the gateway's own work, by method of the contract.
        self._own: defaultdict[str, BaseLatency] = defaultdict(BaseLatency)
        # Means of the last calls: the time that they held their place, and the slowdown of the gateway's own work.
        self._hold_s, self._own_slowdown = 0.0, 1.0

    @property
    def is_light(self) -> bool:
        """Whether the suite is so little loaded that latencies are base latencies."""
        limit = self.places.limit
        return limit.is_lowest or self.places.in_flight <= max(_LIGHT, limit.limit * _LIGHT_SHARE)

    @property
    def reserve_s(self) -> float:
        """For the end of a request: joining the answer, and its way to the caller. It grows with the load."""
        return self._reserve_s * min(self._own_slowdown, _MOST_OWN_SLOWDOWN)

    @property
    def _refusal(self) -> Overloaded:
        return Overloaded("the gateway has as many calls as it can answer in time; try again", self._retry_after_s)

    def require_room(self, remaining_s: float, patience: float) -> None:
        """Raises Overloaded if a call with so much time would wait too long for a place to be answered whole.

        `patience`: see `criticality`. A call that gets a place at once may have too little time for that, and is then
        degraded. In an overload it is refused: it has probably lost its time before the gateway saw it, and degraded
        answers would take the time of whole ones.
        """
        now_s = self._clock()
        if self.places.is_free:
            if now_s >= self._overloaded_until_s or remaining_s - self.reserve_s >= self._hold_s:
                return
            raise self._refusal
        self._overloaded_until_s = now_s + _OVERLOAD_S
        wait_s = (self.places.waiting + 1) * self._hold_s / self.places.limit.limit
        most_s = patience * min(remaining_s / 2, remaining_s - self.reserve_s - _MARGIN * self._hold_s)
        if wait_s <= most_s and self.places.waiting < _MOST_WAITING:
            return
        if now_s - self._measured_s > _UNMEASURED_S:
            self._measured_s = now_s
            self.places.limit.lower(now_s)
        raise self._refusal

    @asynccontextmanager
    async def place(self, method: str, remaining_s: float, patience: float, work: Work) -> AsyncIterator[None]:
        """Holds a place; waits for it if there is room. Raises Overloaded at once if there is none.

        A call that has waited for nearly all of its time goes on without a place: the stages will be skipped, and the
        fallbacks cost little.
        """
        self.require_room(remaining_s, patience)
        has_place = await self.places.enter(max(0.0, remaining_s - 3 * self.reserve_s))
        began_s, was_light = self._clock(), self.is_light
        try:
            yield
            # Only answers are samples: a request that is refused as wrong costs nearly nothing.
            if has_place:
                now_s = self._clock()
                self._ended(method, now_s - began_s, was_light and self.is_light, work, now_s)
        finally:
            if has_place:
                self.places.leave()

    def _ended(self, method: str, hold_s: float, is_light: bool, work: Work, now_s: float) -> None:
        if work.parts:
            # The time of an answer for which no stage was called says nothing about others.
            self._hold_s += (hold_s - self._hold_s) * (_SMOOTHING if self._hold_s else 1.0)
        own, own_s = self._own[method], hold_s - work.stages_s
        base_s = own.typical_s if own.is_known else 0.0
        if base_s > 0:
            self._own_slowdown += (max(1.0, own_s / base_s) - self._own_slowdown) * _SMOOTHING
        sample = slowdown((own_s, base_s), work.parts)
        if is_light:
            own.observe(own_s)
            self._measured_s = now_s
        if sample is not None:
            self.places.limit.sample(sample, self.places.in_flight, now_s)
