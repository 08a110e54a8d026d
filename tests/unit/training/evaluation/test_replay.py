"""A replay of logged rankings in another order, against the expected clicks of that order."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from services.ranker.domain.exploration import Policy
from tests.unit.training.evaluation.explored_log import CANDIDATES, made_log
from tests.unit.training.planted import POPULARITY, SHOPPER
from training.evaluation.explored_order import ExploredOrder
from training.evaluation.replay import NAMES, POSITION_BASED, replay

SHARE = 0.5


def test_the_own_order_is_worth_what_was_logged() -> None:
    """The policy that made the log has no difference to it with any estimator, to the last digit."""
    made = made_log(60, SHARE)
    found = replay(made.log, made.log.examples.numbers[:, POPULARITY].astype(np.float64), "click")
    assert found.agreement == 1
    for name in NAMES:
        assert found.differences[name].value == pytest.approx(0, abs=1e-12)
        assert found.differences[name].error == pytest.approx(0, abs=1e-12)
    assert found.overlaps["ips"].effective == pytest.approx(60 * 5)
    assert (found.rankings, found.persons) == (60, 30)


def test_a_better_order() -> None:
    """Of a better order, every estimator that weighs places has the true value and gain in its intervals."""
    made = made_log(1_500, SHARE)
    scores = made.log.examples.numbers[:, SHOPPER].astype(np.float64)
    truth, found = made.value(scores, SHARE), replay(made.log, scores, "click")
    own = made.value(-made.log.policy_positions.astype(np.float64), SHARE)
    for name in set(NAMES) - {"dm", "interaction"}:
        low, high = found.estimates[name].interval(0.999)
        assert low <= truth <= high, name
        low, high = found.differences[name].interval(0.999)
        assert low <= truth - own <= high, name
    assert abs(found.estimates["dm"].value / truth - 1) < 0.1
    assert truth > 1.2 * found.logged.value
    assert found.agreement < 0.2
    assert found.overlaps["dr"].covered == pytest.approx(1)
    # Clicks at all places say what a product is worth: the narrowest interval of those without the model's bias.
    assert found.estimates[POSITION_BASED].error < found.estimates["dr"].error < found.estimates["ips"].error


def test_without_exploration() -> None:
    """A log without draws covers another order hardly: its mean weight says so."""
    made = made_log(200, 0.0)
    found = replay(made.log, made.log.examples.numbers[:, SHOPPER].astype(np.float64), "click")
    assert found.overlaps["ips"].covered < 0.2


def test_moved_by_rules() -> None:
    """Rankings in which another hand moved products are left out, and counted; a log of them alone is refused."""
    made = made_log(40, SHARE)
    turned = made.log.policy_positions.copy()
    turned[: 10 * CANDIDATES] = np.tile(np.roll(np.arange(CANDIDATES), 7) + 1, 10)
    scores = made.log.examples.numbers[:, SHOPPER].astype(np.float64)
    found = replay(replace(made.log, policy_positions=turned), scores, "click")
    assert (found.rankings, found.rearranged) == (30, 10)
    turned[:] = np.tile(np.roll(np.arange(CANDIDATES), 7) + 1, 40)
    with pytest.raises(ValueError, match="rules moved products in every"):
        replay(replace(made.log, policy_positions=turned), scores, "click")


def test_tiers_come_first() -> None:
    """In a search a product of a lower tier stays above all others whatever the score."""
    made = made_log(50, 0.0)
    searches = replace(made.log.examples, kinds=np.full(50, "search"))
    tiers = np.ones(len(made.relevance), np.int64)
    tiers[::CANDIDATES] = 0
    scores = -made.log.policy_positions.astype(np.float64)
    scores[::CANDIDATES] = -1e9
    found = replay(replace(made.log, tiers=tiers, examples=searches), scores, "click")
    assert found.agreement == 1
    assert replay(replace(made.log, examples=searches), scores, "click").agreement < 1


@pytest.mark.parametrize("share", [0.0, 0.4])
def test_probabilities_of_a_sequence(share: float) -> None:
    """Over all sequences they add up to 1, and give the probability of each row at each place."""
    order, policy = np.array([2, 0, 3, 1]), Policy(range(1, 3), window=2)
    made = ExploredOrder(order, np.array([True, True, True, True]), policy, share)
    total = np.zeros((4, 4))
    for sequence in permutations(range(4)):
        # Renamed, so that the sequence is 0, 1, 2, 3.
        names = np.argsort(sequence)
        renamed = ExploredOrder(names[order], np.ones(4, np.bool_), policy, share)
        chance = renamed.chances_along(4).prod()
        total[np.arange(4), list(sequence)] += chance
    assert total.sum() == pytest.approx(4)
    np.testing.assert_allclose(total, made.chances(np.arange(4)), atol=1e-6)


def test_an_unknown_outcome() -> None:
    """It is refused with those that exist."""
    made = made_log(5, 0.0)
    with pytest.raises(ValueError, match="use click, cart, purchase"):
        replay(made.log, made.relevance, "sale")
