"""The garbage collector ignores the objects of a started service, and the allocator keeps what requests free.

Each test has a process of its own: a full collection here would end what other tests have left, at its own time.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

START = """
import gc, weakref
from services.common.process import freeze_gc, keep_freed_memory

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_freed_memory_is_not_given_back() -> None:
    """Blocks of the size of a message that are freed and taken again cost no page faults."""
    again = """
import resource
import numpy as np
keep_freed_memory()
vectors = np.ones((200, 384), np.int8)
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def request():
    rows = vectors.astype(np.float32)
    return rows * 2
request()
before = faults()
for _ in range(100):
    request()
assert faults() - before < 100, faults() - before
"""
    assert holds(again)
