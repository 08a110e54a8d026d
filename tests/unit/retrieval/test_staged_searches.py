"""When a staged collection may answer searches."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import cast

import pytest

from services.retrieval.adapters.collection import Collection
from services.retrieval.adapters.points import Where
from services.retrieval.adapters.staged_searches import StagedSearches


@dataclass(frozen=True)
class Counted:
    """A collection that only counts."""

    identity: str
    products: int

    def count(self, where: Where) -> int:
        return self.products


class Shop:
    """One tenant's collections and the lock of its writes."""

    def __init__(self) -> None:
        self.now_s, self.lock = 0.0, threading.Lock()
        self._searches = StagedSearches({"t": self.lock}, lambda: self.now_s)

    def may_answer(self, live: int, staged: int, names: tuple[str, str] = ("one", "two"), after_s: float = 2.0) -> bool:
        self.now_s += after_s
        one, two = (Counted(name, count) for name, count in zip(names, (live, staged), strict=True))
        return self._searches.is_complete("t", cast(Collection, one), cast(Collection, two))


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_equal_counts(shop: Shop) -> None:
    """A collection with as many products as the live one answers, one that is being filled does not."""
    assert not shop.may_answer(900, 10)
    assert shop.may_answer(900, 900)
    assert not shop.may_answer(900, 0, ("one", "three"))


def test_a_write_of_another_process(shop: Shop) -> None:
    """One batch that is missing at one look is being written; at two looks it is missing. More is missing at once."""
    assert shop.may_answer(900, 900)
    assert shop.may_answer(900, 890)
    assert shop.may_answer(900, 900)
    assert shop.may_answer(900, 890)
    assert not shop.may_answer(900, 890)
    assert shop.may_answer(900, 900)
    assert not shop.may_answer(900, 100)


def test_a_write_of_this_process(shop: Shop) -> None:
    """While a write is in progress the last look counts, also across a switch; without one nothing is answered."""
    with shop.lock:
        assert not shop.may_answer(900, 900)
    assert shop.may_answer(900, 900)
    with shop.lock:
        assert shop.may_answer(900, 500)
        assert shop.may_answer(500, 900, ("two", "one"))
    assert not shop.may_answer(900, 300)


def test_counts_are_kept_for_a_second(shop: Shop) -> None:
    """Searches in between do not count products."""
    assert shop.may_answer(900, 900)
    assert shop.may_answer(900, 0, after_s=0.5)
    assert not shop.may_answer(900, 0, after_s=0.6)
