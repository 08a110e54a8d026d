"""Popularity: a decayed sum in which each person counts once."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.domain.event import Event, EventType
from services.ranker.domain.popularity import HALF_LIFE_S, decayed, grown, log_mass

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
            total = grown(total, shares.get(person), mass)
            shares[person] = mass
    return decayed(total, NOW_S)


@given(ACTS)
def test_each_person_counts_once(acts: list[tuple[str, EventType, int]]) -> None:
    """In any order of arrival, the popularity is the sum over persons of the event that weighs most now."""
    best: dict[str, float] = {}
    for person, kind, age_days in acts:
        weight = WEIGHTS[kind] * 0.5 ** (age_days * 86_400 / HALF_LIFE_S)
        best[person] = max(weight, best.get(person, 0.0))
    for order in (acts, acts[::-1]):
        assert counted(order) == pytest.approx(sum(best.values()), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("kind", [EventType.REMOVE, EventType.SEARCH, EventType.IMPRESSION])
def test_events_that_do_not_count(kind: EventType) -> None:
    """Removals, searches and impressions make nothing popular, and neither does an event without an item."""
    assert log_mass(event("a", kind, 0)) is None
    assert log_mass(Event("e", "a", "", "", EventType.CLICK, NOW_S)) is None
