"""The analysis of a switchback of prices: which days count, and the interval of the difference."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from experiments.switchback import Blocks, Priced, Sold, analysed_switchback, blocks_of, difference
from services.common.experiment import DAY_S, Experiment

FIRST = 1_000  # The first block: 4,000 days since the epoch.
DAYS, GAP = 4, 1
PRODUCTS = {f"p{number}": Priced(frozenset(), 6.0, "USD") for number in range(40)}


def experiment(**fields: Any) -> Experiment:
    arms = [{"name": name, "share": 0.5, "price_policy_id": name} for name in ("usual", "lower")]
    starts = datetime.fromtimestamp(FIRST * DAYS * DAY_S, UTC)
    return Experiment.model_validate(
        {"mode": "EXPERIMENT_MODE_SWITCHBACK", "primary_metric": "revenue", "arms": arms, "block_days": DAYS,
         "carry_over_days": GAP, "planned_units": 500, "starts_at": starts, **fields}
    )  # fmt: skip


def arm(product: str, day: int, price_list: str = "") -> str:
    found = experiment().price_arm("e", product, price_list, day // DAYS)
    assert found is not None
    return found.name


def blocks(sold: Sequence[Sold], until: int, products: Mapping[str, Priced] = PRODUCTS, **fields: Any) -> Blocks:
    return blocks_of(sold, products, "e", experiment(**fields), until)


def sales(gain: float, count: int = 12, seed: int = 1, carried: float = 0.0) -> list[Sold]:
    """Of all products for `count` blocks: products and days differ, and the other policy brings `gain` more a day.

    `carried`: what the first day of a block brings more after another policy.
    """
    random, found = np.random.default_rng(seed), list[Sold]()
    level, season = random.gamma(2, 10, len(PRODUCTS)), random.normal(0, 2, (count + 4) * DAYS)
    for number, product in enumerate(PRODUCTS):
        for place in range((count + 4) * DAYS):
            day = (FIRST - 4) * DAYS + place
            is_other = day >= FIRST * DAYS and arm(product, day) == "lower"
            brought = level[number] + season[place] + random.normal(0, 3) + (gain if is_other else 0.0)
            if carried and day % DAYS < GAP and arm(product, day - DAYS) != arm(product, day):
                brought += carried if is_other else -carried
            found.append(Sold(product, "", day, "USD", brought / 10, brought))
    return found


def test_whole_blocks_without_their_first_days() -> None:
    """The days of the gap, blocks that are not over, and days before the start do not count."""
    days = range((FIRST - 1) * DAYS, (FIRST + 2) * DAYS)
    sold = [Sold("p0", "", day, "USD", 1, 100.0 if day % DAYS < GAP else 10.0) for day in days]
    found = blocks(sold, (FIRST + 2) * DAYS - 1)
    assert (list(found.number), list(found.results["revenue"])) == ([FIRST], [10.0])
    assert list(found.results["profit"]) == [10.0 - 6.0]
    assert len(blocks(sold, (FIRST + 2) * DAYS)) == 2
    ends = datetime.fromtimestamp(((FIRST + 1) * DAYS + 2) * DAY_S, UTC)
    assert len(blocks(sold, (FIRST + 9) * DAYS, ends_at=ends)) == 1


def test_days_without_sales_count() -> None:
    """A product that was sold or shown in the experiment has a block for each draw, also where nothing was sold."""
    found = blocks([Sold("p0", "", FIRST * DAYS, "USD", 1, 10.0)], (FIRST + 3) * DAYS)
    assert (len(found), found.results["revenue"].sum()) == (3, 0.0)


def test_price_lists() -> None:
    """A list without a price of its own belongs to the default list's draw; one with a price has its own."""
    day = FIRST * DAYS + GAP
    sold = [Sold("p0", name, day, "USD", 1, 30.0) for name in ("", "app", "b2b")]
    products = {"p0": Priced(frozenset({"b2b"}), 6.0, "USD")}
    found = blocks(sold, (FIRST + 1) * DAYS, products)
    assert sorted(found.results["revenue"]) == [10.0, 20.0]
    assert sorted(found.is_other) == sorted(arm("p0", day, name) == "lower" for name in ("", "b2b"))


def test_what_cannot_be_counted_is_noted() -> None:
    """Another currency is left out, and products without a known cost have no profit."""
    days = range(FIRST * DAYS, (FIRST + 4) * DAYS)
    sold = [Sold("p0", "", day, "USD", 1, 10.0) for day in days] + [Sold("p1", "", days[1], "EUR", 1, 5.0)]
    found = blocks(sold, (FIRST + 4) * DAYS, {"p0": Priced(), "p1": Priced()})
    assert np.isnan(found.results["profit"]).all()
    notes = " ".join(analysed_switchback(found, "e", experiment()).notes)
    assert "1 products have no known cost" in notes
    assert "1 days of products are in another currency" in notes


@pytest.mark.parametrize(("gain", "verdict"), [(2.0, "better"), (-2.0, "worse"), (0.0, "not distinguishable")])
def test_the_verdict(gain: float, verdict: str) -> None:
    """The interval holds the true difference, although products and seasons differ by far more."""
    found = analysed_switchback(blocks(sales(gain), (FIRST + 12) * DAYS), "e", experiment())
    assert found.verdicts == {"lower": verdict}
    (one,) = [each for each in found.comparisons if each.metric == "revenue"]
    assert one.low < gain < one.high
    assert [each.units for each in found.arms] == pytest.approx([240, 240], abs=50)
    assert math.isnan(found.arms[0].latency_p50_ms)


def test_a_gap_takes_out_what_is_carried_over() -> None:
    """Without it, what the first day owes to the change of the price would count."""
    sold = sales(0.0, carried=20.0)
    with_gap, without = (
        analysed_switchback(blocks(sold, (FIRST + 12) * DAYS, carry_over_days=days), "e", experiment()).verdicts
        for days in (1, 0)
    )
    assert (with_gap["lower"], without["lower"]) == ("not distinguishable", "better")


def test_nothing_is_called_without_a_difference() -> None:
    """At any of ten looks at 100 switchbacks without a difference, at most the promised share is called."""
    called = 0
    one = experiment()
    for seed in range(100):
        random = np.random.default_rng(seed)
        number = np.repeat(np.arange(10), 40)
        level = random.gamma(2, 10, 40)
        results = (level + random.normal(0, 3, (10, 40)) + random.normal(0, 2, (10, 1))).ravel()
        made = Blocks(
            np.tile(np.arange(40), 10), number, random.random(400) < 0.5, {"revenue": results}, {"revenue": level},
            "USD", 0, 0,
        )  # fmt: skip
        looks = [difference(made, "revenue", one, until) for until in range(1, 11)]
        bounds = [look.interval(one.planned_units, one.significance) for look in looks if look is not None]
        called += any(low > 0 or high < 0 for low, high in bounds)
    assert called <= 9


def test_few_blocks() -> None:
    """Nothing is concluded from fewer than 50 in an arm."""
    found = analysed_switchback(blocks(sales(5.0, count=2), (FIRST + 2) * DAYS), "e", experiment())
    assert (found.verdicts, found.comparisons) == ({"lower": "not distinguishable"}, [])
    nothing = analysed_switchback(blocks([], (FIRST + 2) * DAYS), "e", experiment())
    assert nothing.verdicts == {"lower": "not distinguishable"}
