"""Quotas of API keys: calls a second, and places that are held at the same time."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import Overloaded
from services.gateway.domain.quotas import KeyLimits, KeyQuota, Pool, QuotaExceeded, TokenBucket

rates, depths = st.floats(0.1, 1_000), st.floats(1, 100)
pauses = st.lists(st.floats(0, 10), min_size=1, max_size=60)


@given(rates, depths, pauses)
def test_never_more_calls_than_the_rate_allows(rate: float, depth: float, between: list[float]) -> None:
    """In any stretch of time: at most the depth, and the rate times the length."""
    bucket, now_s, allowed = TokenBucket(rate, depth), 1_000.0, list[float]()
    for pause_s in between:
        now_s += pause_s
        if bucket.take(now_s) == 0:
            allowed.append(now_s)
    for first in range(len(allowed)):
        for last in range(first, len(allowed)):
            assert last - first + 1 <= depth + rate * (allowed[last] - allowed[first]) + 1e-6


@given(rates, depths, pauses)
def test_the_wait_suffices(rate: float, depth: float, between: list[float]) -> None:
    """After the time that a refusal names, and not a tenth of a token before, the next call is allowed."""
    bucket, now_s = TokenBucket(rate, depth), 0.0
    for pause_s in between:
        now_s += pause_s
        wait_s = bucket.take(now_s)
        assert 0 <= wait_s <= 1 / rate
        if wait_s > 0:
            assert wait_s < 0.1 / rate or bucket.take(now_s + wait_s - 0.1 / rate) > 0
            now_s += wait_s + 1e-6
            assert bucket.take(now_s) == 0


def test_a_clock_that_stands_still_or_goes_back() -> None:
    """Neither adds calls."""
    bucket = TokenBucket(1.0, 2.0)
    assert [bucket.take(now_s) > 0 for now_s in (5.0, 5.0, 5.0, 1.0, 5.5)] == [False, False, True, True, True]


moves = st.lists(st.tuples(st.booleans(), st.sampled_from("abc")), max_size=120)


@given(st.integers(1, 6), st.integers(1, 6), moves)
def test_places_are_shared(total: int, share: int, coming: list[tuple[bool, str]]) -> None:
    """Never more than the total and than each owner's share are held, nobody is refused below both, none is lost."""
    pool, held = Pool("places", total, share, retry_after_s=0.5), list[tuple[str, ExitStack]]()
    for comes, owner in coming:
        mine = sum(other == owner for other, _ in held)
        if comes:
            stack, expected = ExitStack(), None if mine < share and len(held) < total else Overloaded
            with pytest.raises(expected) if expected else nullcontext():
                stack.enter_context(pool.place(owner))
            if expected is None:
                held.append((owner, stack))
        elif held:
            held.pop(0)[1].close()
        assert pool.in_use == len(held) <= total


def test_a_full_pool_says_why() -> None:
    """Who has its share is over its quota; who finds all places taken is not."""
    pool = Pool("places", 2, 1, retry_after_s=0.5)
    with pool.place("a"):
        with pytest.raises(QuotaExceeded, match="places: 1 are open") as own, pool.place("a"):
            pytest.fail("a second place")
        assert (own.value.quota, own.value.retry_after_s) == ("places", 0.5)
        with pool.place("b"), pytest.raises(Overloaded, match="all 2 are taken") as full, pool.place("c"):
            pytest.fail("a third place")
        assert not isinstance(full.value, QuotaExceeded)


def test_a_failed_call_gives_its_place_back() -> None:
    """A place is free again after an error."""
    pool = Pool("places", 1, 1, 0.1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), pool.place("a"):
            raise ZeroDivisionError
    assert pool.in_use == 0


def test_a_key_within_its_quota() -> None:
    """The first calls of `burst_s` seconds pass at once; the next one names the quota and the time to wait."""
    quota = KeyQuota(KeyLimits(calls_per_s=10, calls_in_flight=1, import_streams=1), burst_s=0.5, retry_after_s=0.1)
    for _ in range(5):
        quota.take_call(0.0)
    with pytest.raises(QuotaExceeded, match="10 calls a second") as refused:
        quota.take_call(0.0)
    assert refused.value.quota == "calls_per_s"
    assert refused.value.retry_after_s == pytest.approx(0.1)
    quota.take_call(0.11)
