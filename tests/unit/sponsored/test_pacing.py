"""Budgets over a day and over replicas, and how often a person sees a campaign."""

from __future__ import annotations

import pytest

from services.sponsored.domain.frequency import FrequencyCap
from services.sponsored.domain.leases import Lease
from services.sponsored.domain.pacing import INTERVALS_A_DAY, Pacer, PacingRules, TrafficForecast

UNIFORM = (1 / INTERVALS_A_DAY,) * INTERVALS_A_DAY
RULES = PacingRules()


def test_a_budget_is_spent_in_proportion_to_the_traffic() -> None:
    """Spend that follows the multiplier reaches 97 % of the budget, and no hour takes twice its share."""
    budget, spent, hours = 288_000, 0, [0] * 24
    pacer = Pacer(budget, UNIFORM, RULES)
    for interval in range(INTERVALS_A_DAY):
        hour = interval // 12
        limit = int(pacer.limit(seen=10 * (interval % 12 + 1), forecast=2_880))
        spend = max(0, min(round(4_000 * pacer.multiplier), limit - hours[hour], budget - spent))
        pacer.step(interval, spent, spend)
        spent, hours[hour] = spent + spend, hours[hour] + spend
    assert spent >= 0.97 * budget
    assert max(hours) <= 2 * budget / 24


@pytest.mark.parametrize(("spend", "is_higher"), [(500, True), (2_000, False)])
def test_the_multiplier_follows_the_plan(spend: int, is_higher: bool) -> None:
    """Less spend than planned raises the bids, more lowers them."""
    pacer = Pacer(288_000, UNIFORM, RULES)
    before = pacer.multiplier
    pacer.step(0, 0, spend)
    assert (pacer.multiplier > before) == is_higher


def test_an_hour_is_limited_by_its_traffic() -> None:
    """1.7 times its share of the day's requests so far; by the budget alone if there is no forecast."""
    pacer = Pacer(10_000, UNIFORM, RULES)
    assert pacer.limit(seen=100, forecast=1_000) == pytest.approx(1_700)
    assert pacer.limit(seen=900, forecast=1_000) == pacer.limit(seen=1, forecast=0) == 10_000


def test_the_lower_multiplier_counts() -> None:
    """A campaign within its budget bids less if its sales are below the target, and recovers."""
    pacer = Pacer(288_000, UNIFORM, RULES, multiplier=1.0)
    for _ in range(20):
        pacer.step_return(target=5.0, sales=100, spent=100)
    low = pacer.multiplier
    assert low < 0.2
    for _ in range(200):
        pacer.step_return(target=5.0, sales=1_000, spent=100)
    assert pacer.multiplier == 1.0


def test_a_forecast_learns_the_shape_of_the_day() -> None:
    """The shares of a day add up to 1 and are near the requests of past days; an empty day changes nothing."""
    forecast = TrafficForecast(smoothing=0.3)
    evening = [100] * (INTERVALS_A_DAY // 2) + [300] * (INTERVALS_A_DAY // 2)
    forecast.add_day(evening)
    shares = forecast.shares
    assert sum(shares) == pytest.approx(1)
    assert shares[-1] / shares[0] == pytest.approx(3, rel=0.05)
    assert forecast.requests == 200 * INTERVALS_A_DAY
    forecast.add_day([0] * INTERVALS_A_DAY)
    assert forecast.shares == shares


def test_a_lease_ends() -> None:
    """After its time, and when it is used up, no ad is shown for it."""
    lease = Lease(held=100, until_s=10)
    assert not lease.take(101, now_s=1)
    assert lease.take(100, now_s=1)
    assert not lease.take(1, now_s=2)
    assert not Lease(held=100, until_s=10).take(1, now_s=10)


def test_the_frequency_cap_counts_within_its_window() -> None:
    """Two impressions a day; then none until the day is over. Nobody in particular has no cap."""
    now_s = 0.0
    cap = FrequencyCap(2, 86_400, 1_000, lambda: now_s)
    for _ in range(2):
        assert cap.allows("anna", "c")
        cap.add("anna", "c")
    assert not cap.allows("anna", "c")
    assert cap.allows("anna", "d")
    assert cap.allows("", "c")
    now_s = 86_400.0
    assert cap.allows("anna", "c")


def test_the_frequency_cap_is_bounded() -> None:
    """It forgets the pair that was not seen for longest."""
    cap = FrequencyCap(1, 86_400, 2, lambda: 0.0)
    for person in ("anna", "ben", "carl"):
        cap.add(person, "c")
    assert [cap.allows(person, "c") for person in ("anna", "ben", "carl")] == [True, False, False]
