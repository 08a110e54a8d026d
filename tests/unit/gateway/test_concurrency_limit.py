"""The limit of concurrent requests follows the capacity of the suite."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import Overloaded
from services.gateway.domain.concurrency_limit import ConcurrencyLimit

bounds = st.tuples(st.integers(1, 50), st.integers(1, 50)).map(lambda two: (min(two), max(two)))


@given(bounds, st.lists(st.booleans(), max_size=300))
def test_between_its_bounds(ends: tuple[int, int], outcomes: list[bool]) -> None:
    """After any sequence of outcomes the limit is between minimum and maximum."""
    limit = ConcurrencyLimit(*ends, retry_after_s=0.1)
    for in_time in outcomes:
        (limit.in_time if in_time else limit.late)()
        assert ends[0] <= limit.limit <= ends[1]


@given(bounds, st.lists(st.booleans(), max_size=200))
def test_never_more_in_flight(ends: tuple[int, int], comings: list[bool]) -> None:
    """Requests that come and go in any order: never more than the limit at once, and no slot is lost."""
    limit, running = ConcurrencyLimit(*ends, retry_after_s=0.1), list[ExitStack]()
    for comes in comings:
        if not comes and running:
            running.pop(0).close()
        elif comes:
            request = ExitStack()
            try:
                request.enter_context(limit.slot())
            except Overloaded:
                assert len(running) == int(limit.limit)
            else:
                running.append(request)
        assert limit.in_flight == len(running) <= ends[1]


@given(bounds)
def test_late_answers_halve_it_soon(ends: tuple[int, int]) -> None:
    """Fifty late answers bring any limit down to its minimum."""
    limit = ConcurrencyLimit(*ends, retry_after_s=0.1)
    for _ in range(50):
        limit.late()
    assert limit.limit == ends[0]


def test_up_by_one_a_round() -> None:
    """As many answers in time as the limit allows at once raise it by about one: slowly up, quickly down."""
    limit = ConcurrencyLimit(1, 100, retry_after_s=0.1)
    for _ in range(50):
        limit.late()
    limit.limit = 10.0
    for _ in range(10):
        limit.in_time()
    assert 10.9 < limit.limit <= 11.0
    limit.late()
    assert limit.limit < 10.0


def test_the_refusal_says_when_to_come_again() -> None:
    """Beyond the limit a request is refused at once, with the time to wait."""
    limit = ConcurrencyLimit(1, 1, retry_after_s=0.25)
    with limit.slot(), pytest.raises(Overloaded) as caught, limit.slot():
        pytest.fail("a second request came in")
    assert caught.value.retry_after_s == 0.25


def test_a_failed_request_gives_its_slot_back() -> None:
    """A request that ends with an error leaves room for the next."""
    limit = ConcurrencyLimit(1, 1, retry_after_s=0.1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), limit.slot():
            raise ZeroDivisionError
    assert limit.in_flight == 0
