"""The simulated shop of benchmarks.pricing, and its figures."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pricing import Shares, mean_and_interval
from benchmarks.pricing_data import JUICES, Sales
from benchmarks.pricing_policies import learners, run
from benchmarks.pricing_prediction import METHODS, measure_elasticity, measure_prediction, steps
from benchmarks.pricing_shop import Calibration, Shop

TRUTH = Calibration(
    np.linspace(-4.0, -1.8, JUICES), 0.3, 0.3, np.full(JUICES, 4.0), 0.4, np.full(JUICES, 0.3), 0.3, 0.2, 0.28, 0.02
)  # fmt: skip


def shop(days: int = 12, products: int = 44) -> Shop:
    return Shop(TRUTH, 1, days, products, has_best_lists=False)


def sales(stores: int = 6, weeks: int = 40) -> Sales:
    """Made from known elasticities: -3 for every juice, levels that differ by store."""
    random = np.random.default_rng(5)
    store, juice, week = (
        grid.reshape(-1) for grid in np.meshgrid(np.arange(stores), np.arange(JUICES), np.arange(weeks), indexing="ij")
    )
    by_week = random.uniform(1.0, 3.0, (stores, weeks, JUICES))
    prices = by_week[store, week]
    own = prices[np.arange(len(juice)), juice]
    level = random.normal(9, 0.5, (stores, JUICES))[store, juice]
    feature = random.integers(0, 2, len(juice)).astype(float)
    log_ounces = level - 3.0 * np.log(own) + 0.5 * feature + random.normal(0, 0.3, len(juice))
    return Sales(store, juice, week, log_ounces, own, prices, np.zeros(len(juice)), feature, np.full(len(juice), 0.28))


def test_every_policy_meets_the_same_chance() -> None:
    """Two shops of one seed sell the same at the same prices; another seed does not."""
    one, other = shop(), shop()
    assert np.array_equal(one.sold(3, one.list_price), other.sold(3, other.list_price))
    assert not np.array_equal(one.sold(3, one.list_price), Shop(TRUTH, 2, 12, 44, False).sold(3, one.list_price))


def test_demand_falls_by_the_elasticity() -> None:
    """One per cent more of price changes expected pieces by the elasticity of the product."""
    made = shop()
    ratio = made.expected(0, 1.01 * made.list_price) / made.expected(0, made.list_price)
    assert np.log(ratio) / np.log(1.01) == pytest.approx(made.elasticity)


def test_the_clairvoyant_earns_most() -> None:
    """Under the bounds of the ladder, no policy earns more on any day; guardrails cost even the clairvoyant."""
    made = shop()
    earned = {name: run(made, make(made), is_guarded=False).margin for name, make in learners(1).items()}
    assert all(np.all(margin <= earned["clairvoyant"] * (1 + 1e-9)) for margin in earned.values())
    guarded = run(made, learners(1)["clairvoyant"](made), is_guarded=True).margin
    assert guarded.sum() < earned["clairvoyant"].sum()


def test_a_run_repeats() -> None:
    """Sampling and the chance of ε-greedy are seeded."""
    for name in ("ours", "ε-greedy"):
        first, second = (run(made, learners(1)[name](made), True).margin for made in (shop(), shop()))
        assert np.array_equal(first, second)


def test_calibration_finds_what_made_the_sales() -> None:
    """Elasticity and margin, within the noise; and it survives JSON."""
    found = Calibration.of(sales())
    assert found.elasticity == pytest.approx(np.full(JUICES, -3.0), abs=0.3)
    assert found.margin == pytest.approx(0.28)
    again = Calibration.from_json(found.to_json())
    assert np.array_equal(Shop(found, 3, 2, 22, True).cost, Shop(again, 3, 2, 22, True).cost)


def test_elasticity_and_prediction() -> None:
    """The regression finds -3. On linear data with levels by store, ours and the regression by store predict best."""
    assert measure_elasticity(sales())["pooled"] == pytest.approx(-3.0, abs=0.1)
    calls = list[None]()
    found = measure_prediction(sales(), 0, lambda: calls.append(None))
    assert len(calls) == steps()
    rmse = {method: found["known stores"][method]["rmse"] for method in METHODS}
    assert rmse["ours"] < 0.34
    assert rmse["ours"] < 0.8 * rmse["per juice"]
    low, high = found["known stores"]["per juice"]["interval"]
    assert low < found["known stores"]["per juice"]["ours_minus"] < high < 0


def test_the_gap_is_a_share_of_that_of_fixed_prices() -> None:
    """Fixed prices at 80 of 100 and a policy at 95: a quarter of the gap."""
    parts = {
        f"margins, guarded, {policy}, 7": {"margin": margin}
        for policy, margin in (("clairvoyant", [50.0, 50.0]), ("fixed", [40.0, 40.0]), ("ours", [45.0, 50.0]))
    }
    shares = Shares(parts, [7], has_best_lists=False)
    assert shares.gap_ratio("ours", True) == pytest.approx([0.25])
    assert shares.gap_ratio("ours", True, last=1) == pytest.approx([0.0])
    assert shares.policies(True) == ["clairvoyant", "fixed", "ours"]


def test_the_interval_of_a_mean() -> None:
    """Student's t: for 1, 2, 3 it is 2 ± 4.30 / √3."""
    assert mean_and_interval([1.0, 2.0, 3.0]) == pytest.approx(
        (2.0, 2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3
    )
