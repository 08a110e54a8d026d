"""The list of queries with their conditions is sound, and the demo shop's queries are read as it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.query_conditions import (
    QUERIES,
    SHOPS,
    Case,
    demo_lexicon,
    figures_of,
    is_name,
    read_cases,
    readings,
)

HEADER = "shop,query,reading,half\n"


def test_figures() -> None:
    """Brands and colours are counted apart from the other conditions; what was not found lowers the recall."""
    cases = [Case("a", frozenset({"-b", "brand=c"})), Case("d", frozenset({"e|f"}))]
    read = [frozenset({"-b", "colour=g"}), frozenset[str]()]
    names, others = (figures_of(cases, read, names=names) for names in (True, False))
    assert (names.precision, names.recall) == (0, 0)
    assert (others.precision, others.recall) == (1, 0.5)
    assert figures_of([], [], names=True).precision == 1


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("shop,query,half\n", "no column 'reading'"),
        (HEADER + "toys,a,,development\n", "line 2: shop is 'toys'"),
        (HEADER + "demo,a,,other\n", "line 2: half is 'other'"),
        (HEADER + "demo,a,,development\ndemo,a,-b,development\n", "line 3: query 'a' is empty or repeated"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, lines: str, problem: str) -> None:
    (tmp_path / "list.csv").write_text(lines)
    with pytest.raises(ValueError, match=problem):
        read_cases(tmp_path / "list.csv", "demo")


def test_the_list_is_large_enough() -> None:
    """At least 100 operators, 100 queries without any condition, and 50 brands and colours, in both languages."""
    cases = [case for shop in SHOPS for case in read_cases(QUERIES, shop)]
    conditions = [one for case in cases for one in case.reading]
    assert sum(not is_name(one) for one in conditions) >= 100
    assert sum(map(is_name, conditions)) >= 50
    for is_ascii in (True, False):
        assert sum(not case.reading for case in cases if case.query.isascii() == is_ascii) >= 50


def test_conditions_in_the_demo_shop() -> None:
    """At least 95 % of what is read as a condition is one, and at least 90 % of the conditions are read."""
    cases = read_cases(QUERIES, "demo")
    read = readings([case.query for case in cases], demo_lexicon())
    for names in (False, True):
        figures = figures_of(cases, read, names=names)
        assert figures.precision >= 0.95
        assert figures.recall >= 0.9
