"""Places of calls in progress, and a short queue in front of them. Times are in seconds on the event loop's clock."""

from __future__ import annotations

import asyncio
from collections import deque

from services.gateway.domain.gradient_limit import GradientLimit

# A queue that has not been empty for so long does not absorb a burst but stands: waiting in it serves nobody, so calls
# wait for `_STANDING_WAIT_S` only (Nichols & Jacobson, Controlling Queue Delay, 2012).
_STANDING_S, _STANDING_WAIT_S = 0.1, 0.005


class Places:
    """At most `limit` calls in progress; further ones wait.

    `newest_first`: the call that came last is served first (LIFO), and a queue that stands is left soon. Otherwise in
    the order of arrival. At most `most_waiting` calls wait: one more ends the wait of the oldest.
    """

    def __init__(self, limit: GradientLimit, newest_first: bool, most_waiting: int) -> None:
        self.limit, self.in_flight = limit, 0
        self._newest_first, self._most_waiting = newest_first, most_waiting
        self._waiting: deque[asyncio.Future[bool]] = deque()
        self._occupied_since_s = 0.0

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_free(self) -> bool:
        return self.in_flight < int(self.limit.limit)

    async def enter(self, patience_s: float) -> bool:
        """Whether the call has a place; then `leave` must follow. Waits for at most `patience_s`."""
        if self.is_free:
            self.in_flight += 1
            return True
        if patience_s <= 0:
            return False
        return await self._wait(patience_s)

    def leave(self) -> None:
        self.in_flight -= 1
        while self.is_free and self._waiting:
            next_one = self._waiting.pop() if self._newest_first else self._waiting.popleft()
            if not next_one.done():
                self.in_flight += 1
                next_one.set_result(True)

    async def _wait(self, patience_s: float) -> bool:
        loop = asyncio.get_running_loop()
        now_s, own = loop.time(), loop.create_future()
        if not self._waiting:
            self._occupied_since_s = now_s
        elif self._newest_first and now_s - self._occupied_since_s > _STANDING_S:
            patience_s = min(patience_s, _STANDING_WAIT_S)
        self._waiting.append(own)
        if len(self._waiting) > self._most_waiting:
            _give_up(self._waiting.popleft())
        timer = loop.call_later(patience_s, _give_up, own)
        try:
            return bool(await own)
        except asyncio.CancelledError:
            if own.done() and not own.cancelled() and own.result():
                self.leave()
            raise
        finally:
            timer.cancel()
            if own in self._waiting:
                self._waiting.remove(own)


def _give_up(waiting: asyncio.Future[bool]) -> None:
    if not waiting.done():
        waiting.set_result(False)
