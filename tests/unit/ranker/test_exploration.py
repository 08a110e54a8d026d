"""Exploration: which places are drawn, and that each propensity is the probability of the item at its place."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.domain.exploration import (
    SEARCHES,
    SLATES,
    ExplorationShares,
    Policy,
    explored,
    place_probabilities,
)
from services.ranker.domain.profile import Profile
from tests.unit.ranker.requests import drawn

DRAWS = 20_000
ALL = np.ones(200, bool)


@pytest.mark.parametrize(
    ("count", "policy", "share"),
    [
        (6, Policy(range(2, 5), 50), 0.3),
        (4, Policy(range(4), 50), 0.9),
        (60, Policy(range(3), 50), 0.5),
        (25, SEARCHES, 0.4),
    ],
)
def test_propensities_are_the_frequencies(count: int, policy: Policy, share: float) -> None:
    """Over 20,000 draws each item is at each place as often as its propensity there says; others are never there.

    With sixty items a window of fifty has not all of them.
    """
    random, seen, stated = Random(7), np.zeros((count, count)), np.zeros((count, count))
    for _ in range(DRAWS):
        found = explored(range(count), ALL, policy, share, random)
        at = range(count)
        seen[at, found.order] += 1
        stated[at, found.order] = found.propensities
    frequencies = seen / DRAWS
    # Five standard deviations, and one draw.
    error = 5 * np.sqrt(stated * (1 - stated) / DRAWS) + 1 / DRAWS
    assert (abs(frequencies - stated) <= error).all()
    # What was never seen is missing in `stated`: each place's propensities add up to 1 but for these.
    assert stated.sum(axis=1) == pytest.approx(1, abs=0.01)


@given(st.integers(1, 120), st.integers(0, 50), st.floats(0, 1), st.integers(1, 60))
def test_propensities_add_up(count: int, places: int, share: float, window: int) -> None:
    """Over all items those of a place add up to 1, and over all places those of an item."""
    probabilities = place_probabilities(count, min(places, count), share, window)
    assert probabilities.min() >= 0
    assert probabilities.sum(axis=0) == pytest.approx(1, abs=1e-5)
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)


@given(st.integers(0, 2**32), st.integers(1, 200))
def test_what_must_not_move(seed: int, count: int) -> None:
    """Places 1 to 3 of a search, and rows that may not move, are as without exploration; no row rises by more than the
    window, none is lost, and exactly the drawn rows overtook another one.
    """
    random, may_move = Random(seed), np.random.default_rng(seed).random(count) < 0.7
    order = random.sample(range(count), count)
    found = explored(order, may_move, SEARCHES, 0.5, random)
    fixed = [place for place in range(count) if place < SEARCHES.places.start or not may_move[order[place]]]
    assert [found.order[place] for place in fixed] == [order[place] for place in fixed]
    assert {found.propensities[place] for place in fixed} <= {1.0}
    assert sorted(found.order) == sorted(order)
    moving = [row for place, row in enumerate(order) if place >= SEARCHES.places.start and may_move[row]]
    after = [row for place, row in enumerate(found.order) if place >= SEARCHES.places.start and may_move[row]]
    assert all(moving.index(row) - after.index(row) < SEARCHES.window for row in moving)
    overtook = {
        row for at, row in enumerate(after) if any(moving.index(other) < moving.index(row) for other in after[at + 1 :])
    }
    assert found.drawn == overtook
    assert all(found.order.index(row) < SEARCHES.places.stop for row in found.drawn)


def test_a_share_of_0() -> None:
    """The order stays, and each item has propensity 1 at its place."""
    found = explored([2, 0, 1], ALL, SLATES, 0.0, Random(1))
    assert (found.order, found.propensities, found.drawn) == ([2, 0, 1], [1.0, 1.0, 1.0], frozenset())


def test_shares() -> None:
    """A search, and what is known of a person (history, shopper model or counts), have the informed share."""
    shares = ExplorationShares(uninformed=0.5, informed=0.02)
    nobody = Profile((), np.zeros((0, 8), np.float32), np.zeros(0, np.float32))
    recommended = replace(drawn(2), is_search=False)
    unknown = replace(recommended, profile=nobody, shopper_scores=None, neighbour_scores=None)
    assert shares.of(unknown) == 0.5
    for known in (recommended, replace(unknown, is_search=True), replace(unknown, shopper_scores=unknown.popularity)):
        assert shares.of(known) == 0.02


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 99))
def test_the_order_before_the_draws_is_kept(may_move: list[bool], seed: int) -> None:
    """Each row's place before the draws is known, and with the share it gives the logged propensity again."""
    order = Random(seed).sample(range(len(may_move)), len(may_move))
    found = explored(order, np.array(may_move), SEARCHES, 0.5, Random(seed))
    assert [order[place] for place in found.before] == list(found.order)
    moving = [place for place in range(3, len(order)) if may_move[order[place]]]
    if count := sum(place < 20 for place in moving):
        assert found.share == 0.5
        reach = moving[: count + 9]
        chances = place_probabilities(len(reach), count, found.share, SEARCHES.window)
        for at, place in enumerate(reach):
            assert found.propensities[place] == chances[at, reach.index(found.before[place])]
    else:
        assert found.share == 0
