"""Slate estimators: expectations over every slate of a small logging policy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from random import Random

import numpy as np
import pytest

from training.evaluation import slates
from training.evaluation.estimates import Doubles, Integers

# Two of three products; slates are drawn with these chances, the target shows product 2, then 0.
SLATES = np.array(list(permutations(range(3), 2)))
CHANCES = np.array([0.3, 0.2, 0.1, 0.1, 0.2, 0.1])
TARGET = np.tile([2, 0], (len(SLATES), 1))
# Expected clicks of each product at each place, whatever else is shown.
CLICKS = np.array([[0.2, 0.1], [0.5, 0.3], [0.6, 0.2]])
VALUE = CLICKS[2, 0] + CLICKS[0, 1]


def place_rewards() -> Doubles:
    return CLICKS[SLATES, [0, 1]]


def marginal(place: int) -> Doubles:
    """[slates]: the probability of the shown product at its place."""
    shown = SLATES[:, place]
    return np.array([CHANCES[shown == product].sum() for product in shown])


def conditional() -> Doubles:
    """[slates, places]: weights given the places above."""
    first = marginal(0)
    return np.stack([(SLATES[:, 0] == 2) / first, (SLATES[:, 1] == 0) / (CHANCES / first)], axis=1)


def test_weights_of_whole_slates() -> None:
    """The weight of the target's slate is 1 over its probability; all others weigh nothing."""
    weights = slates.standard(conditional())
    assert weights @ CHANCES == pytest.approx(1)
    assert (weights * place_rewards().sum(axis=1)) @ CHANCES == pytest.approx(VALUE)


def test_rewards_that_depend_on_places_above() -> None:
    """Interaction weights value a place right that only gets a click below product 2; independent ones do not."""
    rewards = place_rewards().copy()
    rewards[:, 1] *= SLATES[:, 0] == 2
    alone = np.stack([(SLATES[:, place] == TARGET[:, place]) / marginal(place) for place in (0, 1)], axis=1)
    right = (slates.interaction(conditional()) * rewards).sum(axis=1) @ CHANCES
    assert right == pytest.approx(VALUE)
    assert abs((alone * rewards).sum(axis=1) @ CHANCES - VALUE) > 0.01


def test_rewards_of_a_slate_as_a_whole() -> None:
    """The pseudo-inverse needs no reward of a place if the slate's is a sum over products and places."""
    inverse = slates.gamma_inverse(_draw(), 2, 3, seed=0, draws=10_000)
    weights = slates.pseudo_inverse(TARGET, SLATES, inverse)
    assert (weights * place_rewards().sum(axis=1)) @ CHANCES == pytest.approx(VALUE, abs=0.05)
    assert weights @ CHANCES == pytest.approx(1, abs=0.05)


def test_the_position_based_model() -> None:
    """Clicks at any place say what a product is worth at another, if a click is examined times relevant."""
    examination, relevance = np.array([1.0, 0.5]), np.array([0.3, 0.6, 0.8])
    rewards = examination * relevance[SLATES]
    # [product, place]
    logging = np.array([[CHANCES[SLATES[:, place] == each].sum() for place in (0, 1)] for each in range(3)])
    target = np.array([[0.0, 1.0], [0.0, 0.0], [1.0, 0.0]])
    weights = np.stack(
        [slates.position_based(target[SLATES[:, k]], logging[SLATES[:, k]], examination) for k in (0, 1)], axis=1
    )
    assert (weights * rewards).sum(axis=1) @ CHANCES == pytest.approx(0.8 + 0.5 * 0.3)


def test_what_was_never_shown_weighs_nothing() -> None:
    """No weight is infinite: what the log could not show is missing, and shows as a low mean weight."""
    assert slates.position_based(np.eye(2), np.zeros((2, 2)), np.ones(2)).tolist() == [0, 0]


def _draw() -> Callable[[Random], Integers]:
    def draw(random: Random) -> Integers:
        row = random.choices(range(len(SLATES)), CHANCES.tolist())[0]
        return np.asarray(SLATES[row], np.int64)

    return draw
