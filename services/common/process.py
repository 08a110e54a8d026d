"""Setup of a service's process."""

from __future__ import annotations

import gc


def freeze_gc() -> None:
    """Freeze the garbage collector: call it once, after a service has started.

    From now on collections ignore all present objects. Otherwise a full collection would walk through all modules,
    models and records every hundred calls or so, and the call during which it runs would wait.

    The collections that are left need no other thresholds. In a gateway: .2 ms of CPU once in 25 searches for the
    youngest objects, .3 ms once in 350 for the next generation, no full collection in 1,100 searches.
    """
    gc.collect()
    gc.freeze()
