"""The limit of concurrent calls follows the gradient of latency."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain.gradient_limit import GradientLimit

bounds = st.tuples(st.integers(1, 50), st.integers(1, 50)).map(lambda two: (min(two), max(two)))
# The slowdown of each call, and the calls in progress when it ended.
calls = st.lists(st.tuples(st.floats(0, 100), st.integers(1, 60)), max_size=300)


def after(limit: GradientLimit, slowdown: float, in_flight: int, windows: int, from_s: float = 0.0) -> float:
    """The limit after some windows of ten equal calls."""
    for number in range(10 * windows):
        limit.sample(slowdown, in_flight, from_s + 0.012 * number)
    return limit.limit


@given(bounds, st.integers(1, 60), calls)
def test_between_its_bounds(ends: tuple[int, int], start: int, ended: list[tuple[float, int]]) -> None:
    """After any sequence of calls the limit is between minimum and maximum."""
    limit = GradientLimit(*ends, tolerance=2, start=start)
    for number, (slowdown, in_flight) in enumerate(ended):
        limit.sample(slowdown, in_flight, 0.02 * number)
        assert ends[0] <= limit.limit <= ends[1]


def test_an_unused_limit_stays() -> None:
    """Fast calls of which there are few do not raise the limit, however long that lasts."""
    assert after(GradientLimit(2, 256, tolerance=2, start=8), 1.0, in_flight=3, windows=100) == 8


def test_a_used_limit_rises() -> None:
    """Fast calls that use all of the limit raise it."""
    limit = GradientLimit(2, 256, tolerance=2, start=8)
    assert 9 <= after(limit, 1.0, in_flight=8, windows=1) <= 10
    assert after(limit, 1.0, in_flight=256, windows=60, from_s=1.0) > 100


def test_slow_calls_lower_it_within_a_second() -> None:
    """A limit that is far too high is low after half a second of slow calls."""
    assert after(GradientLimit(2, 256, tolerance=2, start=128), 10.0, in_flight=128, windows=5) <= 10


def test_at_the_tolerance_it_is_stable() -> None:
    """The limit settles where the slowdown is the tolerance and room for a short queue."""
    limit = GradientLimit(2, 256, tolerance=2, start=100)
    for window in range(100):
        # Two cores: the slowdown is half of the calls in progress.
        after(limit, limit.limit / 2, in_flight=int(limit.limit), windows=1, from_s=0.12 * window)
    assert 4 <= limit.limit <= 8


def test_once_a_window() -> None:
    """Nine calls, or calls within less than a tenth of a second, change nothing."""
    limit = GradientLimit(2, 256, tolerance=2, start=8)
    for number in range(9):
        limit.sample(10.0, 8, 0.1 * number)
    assert limit.limit == 8
    limit = GradientLimit(2, 256, tolerance=2, start=8)
    for number in range(90):
        limit.sample(10.0, 8, 0.001 * number)
    assert limit.limit == 8


def test_what_was_long_ago_does_not_count() -> None:
    """Slow calls before a pause do not lower the limit after it."""
    limit = GradientLimit(2, 256, tolerance=2, start=8)
    for _ in range(9):
        limit.sample(10.0, 8, 0.0)
    for number in range(12):
        limit.sample(1.0, 3, 60 + 0.01 * number)
    assert limit.limit == 8


def test_lowered_to_measure() -> None:
    """`lower` leaves a quarter, and never less than the minimum."""
    limit = GradientLimit(2, 256, tolerance=2, start=40)
    limit.lower(0.0)
    assert (limit.limit, limit.is_lowest) == (10, False)
    limit.lower(0.0)
    limit.lower(0.0)
    assert (limit.limit, limit.is_lowest) == (2, True)
