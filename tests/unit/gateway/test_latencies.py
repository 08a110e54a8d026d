"""What the gateway knows of latencies without load, and how it compares requests with them."""

from __future__ import annotations

from services.gateway.domain.base_latency import BaseLatency
from services.gateway.domain.slowdown import Work, slowdown


def observed(*latencies_s: float) -> BaseLatency:
    base = BaseLatency()
    for latency_s in latencies_s:
        base.observe(latency_s)
    return base


def test_low_and_typical() -> None:
    """A low percentile says what is possible at all, the median what is usual; a few outliers move neither."""
    base = observed(*(0.010 + 0.001 * n for n in range(18)), 5.0, 5.0)
    assert (round(base.low_s, 6), round(base.typical_s, 6)) == (0.012, 0.02)


def test_unknown_at_first() -> None:
    """Without samples any time may suffice; limits are compared only with at least ten samples."""
    assert observed().low_s == 0
    assert not observed(*[0.01] * 9).is_known
    assert observed(*[0.01] * 10).is_known


def test_a_fall_shows_at_once() -> None:
    """A stage that has become fast is known to be able to after three calls, and to be usually so after eleven."""
    base = observed(*[1.0] * 50, *[0.01] * 3)
    assert (base.low_s, base.typical_s) == (0.01, 1.0)
    assert observed(*[1.0] * 50, *[0.01] * 11).typical_s == 0.01


def test_a_rise_shows_after_a_window() -> None:
    """A stage that has become slow for good is known to be slow after twenty calls."""
    assert observed(*[0.01] * 50, *[0.03] * 20).low_s == 0.03


def test_the_time_in_stages() -> None:
    """Calls in parallel count once: it is the time in which at least one was in progress."""
    work = Work()
    work.begin(1.0)
    work.begin(1.2)
    work.end(1.5)
    work.end(1.8)
    work.begin(3.0)
    work.end(3.1)
    assert round(work.stages_s, 6) == 0.9


def test_one_slow_stage_is_left_out() -> None:
    """A stage that takes four times its base latency or more does not count: its own limit is the one to fall."""
    assert slowdown((0.004, 0.004), [(0.005, 0.005), (2.0, 0.010), (0.002, 0.002)]) == 1.0


def test_the_slowest_stage_of_a_busy_machine_counts() -> None:
    """Below four times its base latency a stage is busy, not faulty, and the limit must see it."""
    assert round(slowdown((0.004, 0.004), [(0.005, 0.005), (0.033, 0.011)]) or 0, 6) == 2.1


def test_a_slow_machine_is_seen() -> None:
    """If everything is three times as slow, leaving out one stage hides nothing."""
    parts = [(0.015, 0.005), (0.030, 0.010), (0.006, 0.002)]
    assert round(slowdown((0.012, 0.004), parts) or 0, 6) == 3.0


def test_the_gateway_itself_always_counts() -> None:
    """Slow work of the gateway is seen even if it is the slowest part, and for a request without a stage."""
    assert (slowdown((0.040, 0.004), [(0.005, 0.005), (0.010, 0.010)]) or 0) > 2.5
    assert slowdown((0.008, 0.004), []) == 2.0


def test_unknown_parts() -> None:
    """Without a base latency there is nothing to compare with."""
    assert slowdown((0.008, 0.0), []) is None
    assert slowdown((0.008, 0.004), [(0.005, 0.0)]) is None
