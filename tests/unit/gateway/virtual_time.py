"""An event loop whose clock jumps to the next timer: simulated seconds cost no time, and runs repeat exactly."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Jumping(selectors.SelectSelector):
    """Nothing is received in a simulation: to wait means to move the clock."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits, and no timer is left")
        self.now_s += max(0.0, timeout)
        return []


class _VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self, selector: _Jumping) -> None:
        super().__init__(selector)
        self._virtual = selector

    def time(self) -> float:
        return self._virtual.now_s


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """`work` on a loop that begins at 0 s."""
    with asyncio.Runner(loop_factory=lambda: _VirtualLoop(_Jumping())) as runner:
        return runner.run(work)


def clock() -> float:
    """Seconds on the clock of the running loop."""
    return asyncio.get_running_loop().time()
