"""From pages and acts of the log to figures, verdicts, guardrails and problems."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest

from experiments.analysis import BETTER, UNDECIDED, WORSE, Analysis, analysed
from experiments.outcomes import Outcomes
from experiments.table import CART, CLICK, FEEDBACK, PURCHASE, REFUND, Act, LogTable, Page
from services.common.experiment import Experiment

DAY_S = 86_400.0


def experiment(**fields: Any) -> Experiment:
    arms = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]
    return Experiment.model_validate({"arms": arms, "planned_units": 4_000, **fields})


def page(user: str, at_s: float, arm: str = "a", items: tuple[str, ...] = ("p1", "p2"), **fields: Any) -> Page:
    shown = tuple((id, place, 10.0) for place, id in enumerate(items, 1))
    known = {"visitor_id": "", "latency_ms": 20.0, "is_degraded": False, "model_version": "m", "currency": "EUR"}
    return Page(user_id=user, at_s=at_s, arms=(("e", arm),), items=shown, **{**known, **fields})


def act(user: str, at_s: float, kind: int, item: str = "p1", price: float = math.nan, **fields: Any) -> Act:
    known = {"visitor_id": "", "currency": "" if math.isnan(price) else "EUR", "quantity": 1}
    return Act(user_id=user, item_id=item, kind=kind, at_s=at_s, price=price, **{**known, **fields})


def figures(pages: list[Page], acts: list[Act], **fields: Any) -> dict[str, dict[str, float]]:
    """The values of each metric, by arm."""
    table = LogTable()
    table.extend(pages, acts)
    return {
        one.name: {str(name): value for name, value in one.values.items()}
        for one in analysed(table, "e", experiment(**fields)).arms
    }


@cache
def shop(days: int = 10, arrivals: int = 200, seed: int = 1, **of_b: float) -> LogTable:
    """Units arrive over some days, come back, click and buy. `of_b`: how its units differ; `lost`: from the log."""
    random, table = np.random.default_rng(seed), LogTable()
    for day in range(days):
        for number in range(arrivals):
            user, arm = f"u{day}-{number}", "ab"[int(random.random() < 0.5)]
            own = of_b if arm == "b" else {}
            taste = random.gamma(2.0)
            for _ in range(random.poisson(2 * taste)):
                table.add_act(act(user, DAY_S * day - 1 - DAY_S * random.random(), CLICK))
            if random.random() < own.get("lost", 0.0):
                continue
            for visit in range(1 + random.poisson(1.0)):
                at_s = DAY_S * (day + visit * random.random())
                latency = random.gamma(4.0) * (5 + own.get("slower", 0.0))
                table.add_page(page(user, at_s, arm, latency_ms=latency, is_degraded=random.random() < 0.02))
                if random.random() < 0.1 * taste + own.get("gain", 0.0):
                    table.add_act(act(user, at_s + 10, CLICK))
                    if random.random() < 0.5:
                        table.add_act(act(user, at_s + 20, PURCHASE, price=float(5 + random.gamma(2.0) * 10)))
    return table


def verdict(table: LogTable, **fields: Any) -> Analysis:
    return analysed(table, "e", experiment(**fields))


def test_values_of_an_arm() -> None:
    """Shares of answers and of units, revenue a unit, and the mean place of clicks; each by its definition."""
    pages = [
        page("u", 0.0), page("u", 100.0, is_degraded=True, latency_ms=90.0), page("v", 50.0, items=()),
        page("w", 60.0, "b"),
    ]  # fmt: skip
    acts = [
        act("u", 110.0, CLICK, "p2"), act("u", 111.0, CLICK, "p2"), act("u", 10.0, CLICK, "p1"), act("u", 120.0, CART),
        act("u", 130.0, PURCHASE, price=4.0, quantity=3), act("v", 140.0, PURCHASE, price=6.0),
        act("w", 61.0, CLICK, "p9"),
    ]  # fmt: skip
    found = figures(pages, acts)
    assert found["a"]["click_through"] == pytest.approx(2 / 3)
    assert (found["a"]["add_to_cart"], found["a"]["conversion"], found["a"]["revenue"]) == (0.5, 1.0, 9.0)
    assert found["a"]["click_position"] == pytest.approx(1.5)
    assert [found["a"][name] for name in ("degradation", "latency")] == pytest.approx([1 / 3, 1 / 3])
    assert (found["b"]["click_through"], found["b"]["conversion"]) == (0.0, 0.0)
    assert math.isnan(found["b"]["click_position"])


def test_only_what_follows_the_exposure_counts() -> None:
    """A purchase before the first page in the experiment is what was known before."""
    acts = [act("u", 5.0, PURCHASE, price=9.0), act("u", 15.0, PURCHASE, price=2.0), act("stranger", 15.0, PURCHASE)]
    assert figures([page("u", 10.0)], acts)["a"]["revenue"] == 2.0


@pytest.mark.parametrize(("pieces", "revenue"), [(1, 20.0), (3, 0.0), (9, 0.0), (0, 0.0)])
def test_a_refund_of_pieces(pieces: int, revenue: float) -> None:
    """One of three pieces takes a third of the revenue; all, too many, or 0, which means all, take the rest."""
    acts = [act("u", 1.0, PURCHASE, price=10.0, quantity=3), act("u", 2.0, REFUND, quantity=pieces)]
    assert figures([page("u", 0.0)], acts)["a"]["revenue"] == revenue


def test_prices_and_refunds() -> None:
    """A purchase without a price has the one that the unit saw last; a refund undoes the latest purchase."""
    pages, bought = [page("u", 0.0)], [act("u", 1.0, PURCHASE, price=7.0), act("u", 2.0, PURCHASE)]
    assert figures(pages, bought)["a"]["revenue"] == 17.0
    assert figures(pages, [*bought, act("u", 3.0, REFUND)])["a"]["revenue"] == 7.0
    foreign = [*bought, act("u", 4.0, PURCHASE, price=900.0, currency="JPY")]
    table = LogTable()
    table.extend(pages, foreign)
    outcomes = Outcomes(table, "e", experiment())
    assert (outcomes.currency, outcomes.unpriced, outcomes.at(9.0).numerators["revenue"].sum()) == ("EUR", 1, 17.0)


def test_the_unit_of_an_experiment() -> None:
    """With visitors as units what a visitor does while signed in is the visitor's, and a user alone is no unit."""
    pages = [page("", 0.0, visitor_id="v"), page("u", 1.0, "b")]
    acts = [act("u", 2.0, PURCHASE, price=5.0, visitor_id="v")]
    by_person = figures(pages, acts)
    by_visitor = figures(pages, acts, unit="EXPERIMENT_UNIT_VISITOR")
    assert (by_person["a"]["revenue"], by_person["b"]["revenue"]) == (0.0, 5.0)
    assert by_visitor["a"]["revenue"] == 5.0
    assert math.isnan(by_visitor["b"]["revenue"])


def test_a_unit_in_two_arms_counts_in_its_first() -> None:
    """And the analysis says so."""
    table = LogTable()
    table.extend([page("u", 0.0), page("u", 1.0, "b"), page("v", 0.0, "b")])
    found = analysed(table, "e", experiment())
    assert [(one.units, one.answers) for one in found.arms] == [(1, 1), (1, 1)]
    assert any("1 units were seen in two arms" in note for note in found.notes)


def test_verdicts() -> None:
    """A gain is better, a loss worse, no difference not distinguishable; the control arm may be any."""
    better = shop(gain=0.15)
    assert verdict(better).verdicts == {"b": BETTER}
    assert verdict(better, control_arm="b").verdicts == {"a": WORSE}
    assert verdict(better, primary_metric="click_through").verdicts == {"b": BETTER}
    assert verdict(shop()).verdicts == {"b": UNDECIDED}


def test_history_narrows_the_intervals() -> None:
    """What units clicked before explains a part of what they do."""
    left = {one.metric: one.variance_left for one in verdict(shop()).comparisons}
    assert left["click_through"] < 0.97
    assert left["latency"] == pytest.approx(1.0, abs=0.02)


def test_guardrails() -> None:
    """A slower arm breaks the default guardrail, unless so much harm is allowed; a better one breaks none."""
    slow = shop(slower=3.0)
    (broken,) = verdict(slow).broken
    assert broken.startswith("latency of b is worse than of a")
    assert verdict(slow, guardrails=[{"metric": "degradation"}]).broken == []
    assert verdict(shop(slower=0.6), guardrails=[{"metric": "latency", "maximum_harm": 1.0}]).broken == []
    assert verdict(shop(gain=0.15, slower=-2.0)).broken == []
    assert any(text.startswith("revenue") for text in verdict(shop(gain=-0.15)).broken)


def test_units_that_are_missing() -> None:
    """An arm whose units do not reach the log makes the experiment invalid; shares that differ do not."""
    (problem,) = verdict(shop(lost=0.2)).problems
    assert "begin again under another id" in problem
    assert verdict(shop()).problems == []


def test_a_small_experiment_concludes_nothing() -> None:
    """With few units there is a note and no comparison."""
    found = verdict(shop(days=1, arrivals=50))
    assert (found.comparisons, found.verdicts) == ([], {"b": UNDECIDED})
    assert any(note.startswith("fewer than 100 units in a, b") for note in found.notes)


def test_an_experiment_without_a_log() -> None:
    """Nobody was exposed yet, or only units of other experiments."""
    for table in tables_without_it():
        found = analysed(table, "e", experiment())
        assert [one.units for one in found.arms] == [0, 0]
        assert found.looks == []


def tables_without_it() -> Iterator[LogTable]:
    yield LogTable()
    other = LogTable()
    other.extend([Page("u", "", 0.0, (("other", "a"),), 1.0, False, "m", ())], [act("u", 1.0, PURCHASE)])
    yield other


def test_the_looks_end_with_the_whole() -> None:
    """The intervals of a running experiment, to be drawn: the last is that of the comparison."""
    found = verdict(shop(gain=0.1))
    (primary,) = (one for one in found.comparisons if one.metric == "conversion")
    assert found.looks[-1].intervals["b"] == (primary.difference, primary.low, primary.high)
    assert [look.units for look in found.looks] == sorted(look.units for look in found.looks)


def test_satisfaction_is_of_the_feedback_of_units() -> None:
    """The mean over what units of an arm said after their first exposure; without feedback it is not known."""
    acts = [
        act(user, at_s, FEEDBACK, "", satisfaction=value)
        for user, at_s, value in (("u", 5.0, 0.0), ("u", 11.0, 1.0), ("u", 12.0, 0.5), ("w", 11.0, 0.0))
    ]
    found = figures([page("u", 10.0), page("v", 10.0, "b")], acts)
    assert found["a"]["satisfaction"] == 0.75
    assert math.isnan(found["b"]["satisfaction"])
