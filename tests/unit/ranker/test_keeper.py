"""The keeper removes what is beyond the bounds, again and again, and lets others work in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from services.ranker.keeper import Keeper
from services.ranker.ports import Fill, LogBound, Retention

_RETENTION = Retention(LogBound(1, 1), LogBound(1, 1), LogBound(1, 1))


@dataclass
class TrimmedStore:
    """Each turn removes `steps`; `broken` turns fail; the bytes are erased at the second try."""

    steps: tuple[int, ...] = (3, 2)
    broken: int = 0
    turns: int = 0
    erasures: list[bool] = field(default_factory=list)

    def trim(self, retention: Retention, now_s: float) -> Iterator[int]:
        assert (retention, now_s) == (_RETENTION, 7.0)
        self.turns += 1
        if self.turns <= self.broken:
            raise OSError("the disk is full")
        yield from self.steps

    def erase(self) -> bool:
        self.erasures.append(len(self.erasures) > 0)
        return self.erasures[-1]

    def fill(self) -> Fill:
        return Fill("disk", 90, 100)


class TrimmedConversations:
    """A store of conversations in which two are due at each turn."""

    def trim(self) -> Iterator[int]:
        yield 2


def keeper(store: Any) -> Keeper:
    conversations: Any = TrimmedConversations()
    return Keeper(store, conversations, _RETENTION, 0.001, lambda: 7.0)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)  # between two looks


def test_it_removes_again_and_again() -> None:
    """Each turn removes what is due, and the entries are counted."""
    store = TrimmedStore()
    made = keeper(store)
    until(lambda: store.turns >= 3)
    made.close()
    assert made.removed >= 10
    assert made.fill == Fill("disk", 90, 100)


def test_it_survives_a_failure() -> None:
    """A turn that fails is counted, and the next one works."""
    store = TrimmedStore(broken=2)
    made = keeper(store)
    until(lambda: made.removed > 0)
    made.close()
    assert made.failures == 2


def test_it_tries_to_erase_until_it_has_worked() -> None:
    """While a reader is in the way of overwriting, it is tried again."""
    store = TrimmedStore()
    made = keeper(store)
    until(lambda: True in store.erasures)
    made.close()
    assert store.erasures[0] is False
