"""What a service does with its own process."""

from __future__ import annotations

import gc


def freeze_gc() -> None:
    """To be called once, when a service has started: what it holds by now is there to stay.

    The garbage collector leaves it alone from here on. A full collection would otherwise walk through all of it,
    modules, models and records, every hundred calls or so, and the call that it falls into waits.
    """
    gc.collect()
    gc.freeze()
