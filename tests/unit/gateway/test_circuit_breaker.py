"""Calls to a stage that fails repeatedly are paused, and resumed as soon as it answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain.circuit_breaker import CircuitBreaker

OPEN_S = 1.0
# What happens to a stage: a pause in seconds, then an answer (True), a failure (False) or nothing.
happenings = st.lists(st.tuples(st.floats(0, 3), st.none() | st.booleans()), max_size=40)


def opened(failures_to_open: int = 3, at_s: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker(failures_to_open, OPEN_S)
    for _ in range(failures_to_open):
        breaker.failed(at_s)
    return breaker


@given(st.integers(1, 10), st.lists(st.booleans(), max_size=60))
def test_only_failures_in_a_row_open(failures_to_open: int, outcomes: list[bool]) -> None:
    """The circuit is open exactly where the last calls, as many as configured, all failed."""
    breaker = CircuitBreaker(failures_to_open, OPEN_S)
    for good in outcomes:
        if good:
            breaker.succeeded()
        else:
            breaker.failed(0.0)
    last = outcomes[-failures_to_open:]
    assert breaker.is_open == (len(last) == failures_to_open and not any(last))


@given(st.integers(1, 5), happenings)
def test_one_trial_a_pause(failures_to_open: int, happened: list[tuple[float, bool | None]]) -> None:
    """While open, no two calls go out within one pause, whatever happens in between."""
    breaker, now_s, last_trial_s = CircuitBreaker(failures_to_open, OPEN_S), 0.0, -OPEN_S
    for pause_s, good in happened:
        now_s += pause_s
        was_open = breaker.is_open
        allowed = breaker.allows(now_s)
        assert allowed or was_open
        if was_open and allowed:
            assert now_s - last_trial_s >= OPEN_S
            last_trial_s = now_s
        if allowed and good is not None:
            if good:
                breaker.succeeded()
                last_trial_s = -OPEN_S
            else:
                breaker.failed(now_s)
        assert not (breaker.is_open and breaker.allows(now_s))


def test_closed_lets_everything_through() -> None:
    """Fewer failures than configured change nothing."""
    breaker = CircuitBreaker(3, OPEN_S)
    breaker.failed(0.0)
    breaker.failed(0.0)
    assert all(breaker.allows(0.0) for _ in range(100))


def test_the_trial_comes_after_the_pause() -> None:
    """Open, nothing goes out until the pause is over; then one call does."""
    breaker = opened()
    assert not breaker.allows(0.999)
    assert breaker.allows(1.0)
    assert not breaker.allows(1.0)


def test_a_good_trial_closes() -> None:
    """One answer closes the circuit, and earlier failures no longer count."""
    breaker = opened()
    assert breaker.allows(1.0)
    breaker.succeeded()
    breaker.failed(1.1)
    assert breaker.allows(1.1)


def test_a_failed_trial_waits_again() -> None:
    """A trial that fails starts another pause, from its end."""
    breaker = opened()
    assert breaker.allows(1.0)
    breaker.failed(1.5)
    assert not breaker.allows(2.4)
    assert breaker.allows(2.5)


def test_a_lost_trial_does_not_block() -> None:
    """A trial without an outcome (its caller cancelled) is followed by another one."""
    breaker = opened()
    assert breaker.allows(1.0)
    assert breaker.allows(2.0)
