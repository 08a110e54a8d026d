"""The garbage collector ignores the objects of a started service."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from services.common.process import freeze_gc


class Knot:
    """Holds itself: only the garbage collector can free it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_held_is_not_walked_through_again() -> None:
    """Objects from before the freeze are in no generation that is collected."""
    held = Knot()
    freeze_gc()
    assert not any(one is held for one in gc.get_objects())


def test_what_comes_later_is_still_collected() -> None:
    """Garbage that calls create is collected as before."""
    freeze_gc()
    left = weakref.ref(Knot())
    gc.collect()
    assert left() is None
