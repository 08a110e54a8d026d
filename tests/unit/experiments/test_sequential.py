"""Intervals that hold at any time, ratios, CUPED and the sample ratio; beside spotify-confidence and simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.sequential import Difference, adjusted, difference_of, linearised, ratio_p_value, width
from tests.unit.experiments.shop_units import units

# Of spotify-confidence 4.1.0 (ZTest; ZTestLinreg with what was spent before) on `units()`, at 95 %: difference and
# bounds. It needs pandas 2, which Kairos does not have: these figures were computed in an environment of its own.
ZTEST = {
    "conversion": (0.07945454545454544, 0.04336672954155421, 0.11554236136753668),
    "revenue": (3.126702305827168, 1.4086594306798872, 4.844745180974448),
}
ZTEST_LINREG = {
    "conversion": (0.07935755014126256, 0.04365795654384155, 0.11505714373868356),
    "revenue": (3.116736608820421, 1.4844292262514778, 4.749043991389365),
}
Z_95 = 1.959963984540054


def fixed_interval(difference: Difference) -> tuple[float, float, float]:
    """As a test that is looked at once has it."""
    apart = Z_95 * difference.standard_error
    return difference.value, difference.value - apart, difference.value + apart


@pytest.mark.parametrize("metric", ["conversion", "revenue"])
def test_differences_are_those_of_spotify_confidence(metric: str) -> None:
    """Difference and standard error, with and without what was known before."""
    place = {"conversion": 1, "revenue": 2}[metric]
    arms = units()
    values = [of[place] for of in arms.values()]
    assert fixed_interval(difference_of(*values)) == pytest.approx(ZTEST[metric], rel=1e-3)
    known = adjusted(values, [of[0][:, np.newaxis] for of in arms.values()])
    assert fixed_interval(difference_of(*known)) == pytest.approx(ZTEST_LINREG[metric], rel=3e-3)


def test_a_ratio_has_the_spread_of_a_bootstrap() -> None:
    """The delta method and 2,000 resamples of units agree on value and standard error."""
    *_, clicks, answers = units()["b"]
    values = linearised(clicks, answers)
    assert values.mean() == pytest.approx(clicks.sum() / answers.sum())
    random, n = np.random.default_rng(1), len(clicks)
    rows = random.integers(0, n, (2_000, n))
    ratios = clicks[rows].sum(axis=1) / answers[rows].sum(axis=1)
    assert values.std() / math.sqrt(n) == pytest.approx(ratios.std(), rel=0.05)
    with pytest.raises(ZeroDivisionError):
        linearised(np.zeros(3), np.zeros(3))


def test_arms_whose_units_are_all_alike() -> None:
    """No unit of one arm and every unit of the other: a difference, with an interval that excludes 0."""
    difference = difference_of(np.zeros(200), np.ones(200))
    low, high = difference.interval(10_000, 0.05)
    assert 0 < low < difference.value < high
    assert difference_of(np.ones(200), np.ones(200)).standard_error == 0


def test_what_is_known_before_narrows_the_interval() -> None:
    """By the share of the variance that it explains; without variation nothing changes."""
    random = np.random.default_rng(2)
    before = [random.normal(size=(5_000, 1)) for _ in range(2)]
    values = [3 * of[:, 0] + random.normal(size=5_000) for of in before]
    ratio = difference_of(*adjusted(values, before)).standard_error / difference_of(*values).standard_error
    assert ratio**2 == pytest.approx(0.1, abs=0.01)
    same = adjusted(values, [np.ones((5_000, 1))] * 2)
    assert all((one == other).all() for one, other in zip(same, values, strict=True))


def test_the_interval_is_that_of_the_published_formula() -> None:
    """Waudby-Smith et al., theorem 2.2, with the variance of one of n units; tightest at the planned number."""
    n, planned, alpha = 4_000, 10_000, 0.05
    rho_2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / planned
    published = math.sqrt(2 * (n * rho_2 + 1) / (n**2 * rho_2) * math.log(math.sqrt(n * rho_2 + 1) / alpha))
    # Of a mean with standard deviation 1, whose standard error is 1 / sqrt(n).
    assert width(n, planned, alpha) / math.sqrt(n) == pytest.approx(published)
    assert width(planned, planned, alpha) < min(
        width(planned / 20, planned, alpha), width(20 * planned, planned, alpha)
    )
    assert Z_95 < width(planned, planned, alpha) < 3.2


def test_the_p_value_and_the_interval_say_the_same() -> None:
    """The p-value is below alpha exactly if the interval excludes 0."""
    for z in np.linspace(0, 6, 200):
        difference = Difference(float(z), 1.0, 3_000)
        low, _ = difference.interval(10_000, 0.05)
        assert (difference.p_value(10_000, 0.05) < 0.05) == (low > 0)
    assert Difference(0.0, 0.0, 500).p_value(10_000, 0.05) == 1.0


def test_peeking_does_not_break_the_interval() -> None:
    """Of 2,000 walks without a drift, looked at 100 times, at most 5 % are ever called a difference."""
    walks = np.random.default_rng(3).normal(size=(2_000, 100, 50)).sum(axis=2).cumsum(axis=1)
    n = 50.0 * np.arange(1, 101)
    apart = np.array([width(2 * count, 5_000, 0.05) for count in n]) * np.sqrt(n)
    assert (np.abs(walks) > apart).any(axis=1).mean() <= 0.05
    assert (np.abs(walks) > Z_95 * np.sqrt(n)).any(axis=1).mean() > 0.3


def test_the_sample_ratio() -> None:
    """A true ratio is not called wrong though it is looked at 100 times; one that loses a tenth of an arm is."""
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    random = np.random.default_rng(4)
    wrong = lost = 0
    for _ in range(300):
        counts = random.multinomial(100, list(shares.values()), size=100).cumsum(axis=0)
        known = [dict(zip(shares, row.tolist(), strict=True)) for row in counts]
        wrong += min(ratio_p_value(one, shares) for one in known[9::10]) < 0.01
        known[-1]["b"] = int(0.9 * known[-1]["b"])
        lost += ratio_p_value(known[-1], shares) < 0.01
    assert wrong <= 6
    assert lost >= 240
    assert ratio_p_value(dict.fromkeys(shares, 0), shares) == 1.0
