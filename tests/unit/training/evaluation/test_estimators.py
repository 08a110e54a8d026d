"""Off-policy estimators on logs whose true value is known."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from training.evaluation.cross_fit import cross_fitted
from training.evaluation.estimates import Doubles, Estimate, Integers
from training.evaluation.estimators import ESTIMATORS, Logged, Overlap, dm, dr, ips, logged_value, snips, switch_dr

# Three actions with these rates; the log draws them uniformly, the target by TARGET.
RATES, TARGET = np.array([0.1, 0.4, 0.7]), np.array([0.0, 0.2, 0.8])
VALUE = float(RATES @ TARGET)


def log(count: int, seed: int = 0, model: Doubles = RATES, propensity: float = 1 / 3) -> Logged:
    random = np.random.default_rng(seed)
    actions, units = random.integers(0, 3, count), np.arange(count)
    rewards = (random.random(count) < RATES[actions]).astype(np.float64)
    weights = TARGET[actions] / propensity
    return Logged(rewards, weights, model[actions], np.full(count, float(model @ TARGET)), units, units)


def test_by_hand() -> None:
    """Four decisions: each estimator gives what its formula gives on paper."""
    units = np.arange(4)
    made = Logged(
        np.array([1.0, 0.0, 1.0, 0.0]), np.array([2.0, 0.0, 1.0, 1.0]), np.full(4, 0.5), np.full(4, 0.6), units, units
    )
    assert logged_value(made).value == 0.5
    assert ips(made).value == pytest.approx(3 / 4)
    assert snips(made).value == pytest.approx(3 / 4)
    assert dm(made).value == pytest.approx(0.6)
    assert dr(made).value == pytest.approx(0.6 + (1.0 + 0.5 - 0.5) / 4)


def test_estimates_over_all_logs() -> None:
    """The mean of IPS and DR over every possible log of three decisions is the value: no bias, whatever the model."""
    totals = dict.fromkeys(("ips", "dr"), 0.0)
    for actions in product(range(3), repeat=3):
        for rewards in product((0.0, 1.0), repeat=3):
            chosen, seen, units = np.array(actions), np.array(rewards), np.arange(3)
            chance = np.prod(np.where(seen > 0, RATES[chosen], 1 - RATES[chosen])) / 27
            model = np.array([0.9, 0.0, 0.3])
            made = Logged(seen, TARGET[chosen] * 3, model[chosen], np.full(3, float(model @ TARGET)), units, units)
            for name in totals:
                totals[name] += chance * ESTIMATORS[name](made).value
    assert totals["ips"] == pytest.approx(VALUE)
    assert totals["dr"] == pytest.approx(VALUE)


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_a_long_log(name: str) -> None:
    """With a right model each estimator finds the value within four standard errors."""
    found = ESTIMATORS[name](log(20_000))
    assert abs(found.value - VALUE) < max(4 * found.error, 1e-9)


def test_a_wrong_model() -> None:
    """DM follows a wrong model, DR does not."""
    made = log(20_000, model=np.array([0.5, 0.1, 0.2]))
    assert dm(made).value == pytest.approx(0.18)
    assert abs(dr(made).value - VALUE) < 4 * dr(made).error


def test_wrong_propensities() -> None:
    """IPS is wrong by the factor of the propensities; SNIPS does not depend on it, and DR with a right model hardly."""
    made = log(20_000, propensity=1 / 6)
    assert ips(made).value == pytest.approx(2 * VALUE, rel=0.05)
    assert snips(made).value == pytest.approx(VALUE, rel=0.05)
    assert dr(made).value == pytest.approx(VALUE, rel=0.05)


def test_a_good_model_makes_intervals_narrow() -> None:
    """The interval of DR is narrower than that of IPS."""
    made = log(2_000)
    assert dr(made).error < 0.8 * ips(made).error


def test_few_huge_weights() -> None:
    """SWITCH-DR uses the model where a weight is huge, and has a lower error than DR over many logs."""
    random, errors = np.random.default_rng(1), []
    for seed in range(200):
        made = log(300, seed)
        huge = np.where(random.random(300) < 0.01, 150.0, 1.0)
        made = replace(made, weights=made.weights * huge / huge.mean())
        errors.append([switch_dr(made).value - VALUE, dr(made).value - VALUE])
    switched, plain = np.sqrt(np.square(errors).mean(axis=0))
    assert switched < 0.9 * plain


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_intervals_cover(name: str) -> None:
    """Of 400 logs of 1,000 decisions, 92 to 98 % have the value in their 95 % interval."""
    covered = 0
    for seed in range(400):
        low, high = ESTIMATORS[name](log(1_000, seed, model=np.array([0.2, 0.4, 0.5]))).interval()
        covered += low <= VALUE <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_what_a_person_repeats() -> None:
    """Copies of an observation in one group do not make the interval narrower; as units of their own they would."""
    made = log(500)
    copied = made.take(np.repeat(np.arange(500), 4))
    together = replace(copied, units=np.arange(2_000))
    assert dr(together).value == pytest.approx(dr(made).value)
    assert dr(together).error == pytest.approx(dr(made).error)
    apart = replace(together, groups=np.arange(2_000))
    assert dr(apart).error == pytest.approx(dr(made).error / 2, rel=0.01)


def test_the_difference_is_paired() -> None:
    """A target that is the logging policy differs from it by exactly nothing."""
    made = replace(log(500), weights=np.ones(500))
    same = ips(made).minus(logged_value(made))
    assert (same.value, same.error) == (0, 0)


def test_several_observations_of_a_unit() -> None:
    """The value is that of a unit: the sum over its observations."""
    units = np.array([0, 0, 1, 1])
    found = Estimate.of_sums(np.array([1.0, 1.0, 0.0, 1.0]), units, units)
    assert found.value == 1.5
    assert found.influence.tolist() == [0.25, -0.25]


def test_overlap() -> None:
    """The effective number is that of equal weights; a share of the target that the log cannot show is visible."""
    assert Overlap.of(np.ones(10)) == Overlap(10, 10.0, 0.1, 1.0)
    half = Overlap.of(np.array([1.0, 0.0] * 5))
    assert (half.effective, half.covered) == (5, 0.5)
    assert Overlap.of(np.zeros(3)) == Overlap(3, 0, 0, 0)


@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_impossible_weights(weight: float) -> None:
    """They are refused with the remedy."""
    with pytest.raises(ValueError, match="needs a propensity above 0"):
        replace(log(3), weights=np.array([1.0, 1.0, weight]))


def test_cross_fitting_keeps_groups_apart() -> None:
    """No group's rewards reach its own predictions."""
    groups = np.repeat(np.arange(6), 2)

    def fit(rows: Integers):  # type: ignore[no-untyped-def]
        known = set(groups[rows].tolist())
        return lambda others: np.array([group in known for group in groups[others].tolist()], np.float64)

    assert not cross_fitted(fit, groups, seed=3).any()
    with pytest.raises(ValueError, match="needs two"):
        cross_fitted(fit, np.zeros(4, np.int64), seed=0)
