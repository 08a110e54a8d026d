"""The analysis of an interleaving: who won which page, and the interval of the difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from experiments.interleaving import Credits, analysed_interleaving, preference
from experiments.table import CART, CLICK, PURCHASE, Act, LogTable, Page
from services.common.experiment import Experiment

_NAN = float("nan")


def experiment(**fields: Any) -> Experiment:
    arms = [{"name": "new", "ranking_version": "2"}, {"name": "old"}]
    return Experiment.model_validate(
        {"arms": arms, "control_arm": "old", "mode": "EXPERIMENT_MODE_INTERLEAVING", "planned_units": 500,
         "primary_metric": "click_through", **fields}
    )  # fmt: skip


def page(user: str, at_s: float, teams: Sequence[str] | None, *ids: str) -> Page:
    items = tuple((id, row + 1, _NAN) for row, id in enumerate(ids))
    arms = (("e", "interleaved"),)
    return Page(user, "", at_s, arms, 10.0, False, "m", items, teams=None if teams is None else tuple(teams))


def act(user: str, at_s: float, id: str, kind: int = CLICK) -> Act:
    return Act(user, "", id, kind, at_s, _NAN, "", 1)


def balance(pages: Sequence[Page], acts: Sequence[Act], metric: Any = "click_through") -> tuple[float, float]:
    """(pages that `new` won less those that `old` won, pages that either won)."""
    table = LogTable()
    table.extend(pages, acts)
    won, decided = Credits(table, "e", experiment()).won(metric)
    return float(won.sum()), float(decided.sum())


FIRST = page("u", 0, ["old", "new", ""], "a", "b", "c")


@pytest.mark.parametrize(
    ("clicked", "expected"),
    [
        (["b"], (1, 1)),
        (["a"], (-1, 1)),
        (["a", "b"], (0, 0)),
        (["c"], (0, 0)),
        (["b", "b", "b", "a"], (0, 0)),
        (["x"], (0, 0)),
        ([], (0, 0)),
    ],
)
def test_who_wins_a_page(clicked: list[str], expected: tuple[int, int]) -> None:
    """The arm of whose products more were clicked; a product counts once, and one without a team for neither."""
    assert balance([FIRST], [act("u", 1 + row, id) for row, id in enumerate(clicked)]) == expected


def test_a_click_belongs_to_the_last_page_that_showed_the_product() -> None:
    """Of the same person, before the click; if that page was not interleaved the click counts for neither arm."""
    again = page("u", 10, ["new", "old"], "a", "x")
    plain = page("u", 20, None, "a")
    assert balance([FIRST, again], [act("u", 5, "a"), act("u", 11, "a")]) == (0, 2)
    assert balance([FIRST, again, plain], [act("u", 21, "a")]) == (0, 0)
    assert balance([FIRST], [act("someone", 1, "a"), act("u", -1, "a")]) == (0, 0)


def test_each_kind_of_act_decides_for_itself() -> None:
    """Clicks, carts and purchases win pages apart from each other."""
    acts = [act("u", 1, "a"), act("u", 2, "b", CART), act("u", 3, "b", PURCHASE)]
    assert [balance([FIRST], acts, metric)[0] for metric in ("click_through", "add_to_cart", "conversion")] == [
        -1,
        1,
        1,
    ]


def clicked_table(count: int, of_new: float) -> LogTable:
    """Each unit clicks on the product of one arm, and as often on that of `new` as `of_new` says."""
    table = LogTable()
    for number in range(count):
        user, wins = f"u{number}", number % 100 < 100 * of_new
        table.extend([page(user, number, ["old", "new"], "a", "b")], [act(user, number + 0.5, "b" if wins else "a")])
    return table


@pytest.mark.parametrize(
    ("count", "of_new", "verdict"),
    [(400, 0.7, "better"), (400, 0.3, "worse"), (400, 0.52, "not distinguishable"), (99, 1.0, "not distinguishable"),
     (120, 1.0, "better")],
)  # fmt: skip
def test_the_verdict(count: int, of_new: float, verdict: str) -> None:
    """By the interval of the difference of the shares; nothing is concluded from fewer than 100 units."""
    found = analysed_interleaving(clicked_table(count, of_new), "e", experiment())
    assert found.verdicts == {"new": verdict}
    shares = [arm.values["click_through"] for arm in found.arms]
    assert sum(shares) == pytest.approx(1)
    if found.comparisons:
        (one,) = found.comparisons
        assert one.difference == pytest.approx(shares[1] - shares[0])
        assert one.low < one.difference < one.high


def test_pages_of_a_unit_are_not_independent() -> None:
    """Ten times the same page of each unit is no more certain than one."""
    won = np.where(np.arange(300) % 100 < 60, 1.0, -1.0)
    once, often = preference(won, np.ones(300)), preference(10 * won, np.full(300, 10.0))
    assert once is not None
    assert often is not None
    assert (often.value, often.units) == (once.value, 300)
    assert often.standard_error == pytest.approx(once.standard_error)


def test_guardrails() -> None:
    """Without any the primary metric is one: a losing arm ends the experiment, unless the loss is allowed."""
    table = clicked_table(400, 0.3)
    assert analysed_interleaving(table, "e", experiment()).broken
    assert not analysed_interleaving(clicked_table(400, 0.7), "e", experiment()).broken
    allowed = [{"metric": "click_through", "maximum_harm": 0.9}]
    assert not analysed_interleaving(table, "e", experiment(guardrails=allowed)).broken


def test_what_was_not_interleaved_is_noted() -> None:
    """Pages without teams are counted apart; an experiment without any page has no verdict."""
    table = clicked_table(150, 0.7)
    table.extend([page("u1", 500, None, "a")])
    found = analysed_interleaving(table, "e", experiment())
    assert "1 answers were not interleaved" in found.notes[0]
    assert [arm.answers for arm in found.arms] == [150, 150]
    assert analysed_interleaving(LogTable(), "e", experiment()).verdicts == {"new": "not distinguishable"}
