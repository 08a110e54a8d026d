"""Setup of a service's process."""

from __future__ import annotations

import gc


def freeze_gc() -> None:
    """Freeze the garbage collector: call it once, after a service has started.

    From now on collections ignore all present objects. Otherwise a full collection would walk through all modules,
    models and records every hundred calls or so, and the call during which it runs would wait.
    """
    gc.collect()
    gc.freeze()
