"""Work on many items without holding the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

# After so much time other tasks have their turn. Far below what the watch of the event loop allows: several such tasks,
# and steps that are a bit longer, still leave the loop responsive.
_STEP_S = 0.005

Item = TypeVar("Item")


async def in_steps(items: Iterable[Item], clock: Callable[[], float] = time.perf_counter) -> AsyncIterator[Item]:
    """The items. Gives way to other tasks whenever the work on them has taken 5 ms. `clock` is in seconds."""
    until_s = clock() + _STEP_S
    for item in items:
        yield item
        if clock() > until_s:
            await asyncio.sleep(0)
            until_s = clock() + _STEP_S
