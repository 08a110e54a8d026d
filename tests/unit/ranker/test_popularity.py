"""Popularity: a decayed sum in which each person counts once."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.domain.event import Event, EventType
from services.ranker.domain.popularity import HALF_LIFE_S, decayed, log_mass, moved

NOW_S = 1_800_000_000.0
KINDS = [EventType.CLICK, EventType.CART, EventType.PURCHASE, EventType.DWELL]
WEIGHTS = dict(zip(KINDS, (1.0, 3.0, 6.0, 0.5), strict=True))
# (person, type, age in days)
ACTS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(KINDS), st.integers(0, 400)), max_size=30)


def event(person: str, kind: EventType, age_days: float) -> Event:
    return Event("e", person, "", "item", kind, NOW_S - age_days * 86_400)


def counted(acts: list[tuple[str, EventType, int]]) -> float:
    """As the stores count, one event after the other."""
    total: float | None = None
    shares: dict[str, float] = {}
    for person, kind, age_days in acts:
        mass = log_mass(event(person, kind, age_days))
        assert mass is not None
        if mass > shares.get(person, -math.inf):
            total = moved(total, shares.get(person), mass)
            shares[person] = mass
    return decayed([total], NOW_S)[0]


@given(ACTS)
def test_each_person_counts_once(acts: list[tuple[str, EventType, int]]) -> None:
    """In any order of arrival, the popularity is the sum over persons of the event that weighs most now."""
    best: dict[str, float] = {}
    for person, kind, age_days in acts:
        weight = WEIGHTS[kind] * 0.5 ** (age_days * 86_400 / HALF_LIFE_S)
        best[person] = max(weight, best.get(person, 0.0))
    for order in (acts, acts[::-1]):
        assert counted(order) == pytest.approx(sum(best.values()), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("kind", [EventType.REMOVE, EventType.SEARCH, EventType.IMPRESSION, EventType.REFUND])
def test_events_that_do_not_count(kind: EventType) -> None:
    """Removals, searches and impressions make nothing popular, and neither does an event without an item."""
    assert log_mass(event("a", kind, 0)) is None
    assert log_mass(Event("e", "a", "", "", EventType.CLICK, NOW_S)) is None


@given(st.lists(st.integers(0, 400), max_size=12), st.integers(0, 400), st.sampled_from([None, 0, 3, 399]))
def test_what_is_left_of_a_share(others: list[int], age_days: int, left: int | None) -> None:
    """A person's share that falls, or ends, takes from the total what it had added; nothing is left of the only one."""
    total: float | None = None
    for age in others:
        total = moved(total, None, log_mass(event("a", EventType.CLICK, age)))
    share = log_mass(event("b", EventType.PURCHASE, age_days))
    rest = None if left is None else log_mass(event("b", EventType.CLICK, age_days + left))
    after = moved(moved(total, None, share), share, rest)
    expected = sum(decayed([total, rest], NOW_S))
    assert decayed([after], NOW_S)[0] == pytest.approx(expected, rel=1e-6, abs=6e-9)
    if total is None and rest is None:
        assert after is None
