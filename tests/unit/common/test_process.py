"""The garbage collector ignores the objects of a started service.

Each test has a process of its own: a full collection here would end what other tests have left, at its own time.
"""

from __future__ import annotations

import subprocess
import sys

START = """
import gc, weakref
from services.common.process import freeze_gc

class Knot:
    "Holds itself: only the garbage collector can free it."
    def __init__(self):
        self.itself = self

"""


def holds(program: str) -> bool:
    """Whether the assertions of a program hold."""
    return subprocess.run([sys.executable, "-c", START + program], timeout=60, check=False).returncode == 0


def test_what_is_held_is_not_walked_through_again() -> None:
    """Objects from before the freeze are in no generation that is collected."""
    held = "held = Knot()\n"
    there = "assert any(one is held for one in gc.get_objects())\n"
    assert holds(held + there)
    assert not holds(held + "freeze_gc()\n" + there)


def test_what_comes_later_is_still_collected() -> None:
    """Garbage that calls create is collected as before."""
    assert holds("freeze_gc()\nleft = weakref.ref(Knot())\ngc.collect()\nassert left() is None\n")
