"""Calls to a stage that fails are paused, and resumed as soon as it answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.common.circuit_breaker import CircuitBreaker

PROBE_S = 0.1


def opened(at_s: float = 0.0) -> CircuitBreaker:
    breaker = CircuitBreaker(5, PROBE_S)
    for _ in range(5):
        breaker.ended(True, breaker.generation, at_s)
    assert breaker.is_open
    return breaker


@given(st.integers(1, 20), st.lists(st.booleans(), max_size=60))
def test_most_of_the_last_calls(failures_to_open: int, failed: list[bool]) -> None:
    """The circuit opens exactly where enough, and four fifths, of the last 20 calls have failed."""
    breaker = CircuitBreaker(failures_to_open, PROBE_S)
    for count, one in enumerate(failed, 1):
        breaker.ended(one, breaker.generation, 0.0)
        last = failed[:count][-20:]
        assert breaker.is_open == (sum(last) >= max(failures_to_open, 0.8 * len(last)))
        if breaker.is_open:
            break


def test_half_of_the_calls() -> None:
    """A stage that fails every second call is called: half of the answers are whole."""
    breaker = CircuitBreaker(5, PROBE_S)
    for number in range(200):
        breaker.ended(number % 2 == 0, breaker.generation, 0.0)
    assert not breaker.is_open


@given(st.lists(st.floats(0, 0.3), max_size=40))
def test_one_probe_at_a_time(pauses_s: list[float]) -> None:
    """While open, one call in a tenth of a second goes out, and not one more."""
    breaker, now_s, last_s = opened(), 0.0, 0.0
    for pause_s in pauses_s:
        now_s += pause_s
        assert breaker.allows(now_s) == (now_s - last_s >= PROBE_S)
        if now_s - last_s >= PROBE_S:
            last_s = now_s


def test_a_good_probe_closes() -> None:
    """One answer closes the circuit, and earlier failures no longer count."""
    breaker = opened()
    assert breaker.allows(0.1)
    breaker.ended(False, breaker.generation, 0.11)
    breaker.ended(True, breaker.generation, 0.12)
    assert not breaker.is_open
    assert breaker.allows(0.12)


def test_a_failed_or_lost_probe_is_followed_by_another() -> None:
    """A probe that fails, or that never ends, keeps the circuit open until the next one."""
    breaker = opened()
    assert breaker.allows(0.1)
    breaker.ended(True, breaker.generation, 0.15)
    assert breaker.is_open
    assert breaker.allows(0.2)
    assert breaker.allows(0.31)


def test_results_of_before_are_ignored() -> None:
    """Calls that were sent before the circuit opened do not close it, nor do late failures open it again."""
    breaker = CircuitBreaker(5, PROBE_S)
    before = breaker.generation
    for _ in range(5):
        breaker.ended(True, before, 0.0)
    breaker.ended(False, before, 0.01)
    assert breaker.is_open
    assert breaker.allows(0.1)
    breaker.ended(False, breaker.generation, 0.11)
    for _ in range(5):
        breaker.ended(True, before, 0.12)
    assert not breaker.is_open
