"""The benchmark of first results: which products are right, what counts, and that the list of queries is sound."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.first_results import DEPTH, HALVES, QUERIES, Rule, figures_of, read_rules

CASE = Rule(re.compile(r"\bcase\b", re.IGNORECASE), re.compile("DVD"))
TITLES = {
    "case": "Leather Case", "other case": "Case for Slate", "film": "A Case of Murder - DVD", "slate": "Slate 2"
}  # fmt: skip
HEADER = "query,right,wrong,half\n"


def test_wrong_wins_over_right() -> None:
    assert [id for id, title in TITLES.items() if CASE.holds(title)] == ["case", "other case"]


def test_precision_is_over_the_right_products_that_exist() -> None:
    """Two of two right products among five results are all there is; the sixth result does not count."""
    existing = CASE.existing(TITLES.values())
    assert existing == 2
    assert CASE.precision(["Slate 2", "Leather Case", "Slate 2", "Case", "Slate 2", "Case"], existing) == 1
    assert CASE.precision(["Slate 2"] * DEPTH + ["Case"], existing) == 0
    assert CASE.precision(["Case"] * 2 + ["Slate 2"] * 3, CASE.existing(["Case"] * 9)) == pytest.approx(2 / 5)


def test_queries_without_a_right_product_do_not_count() -> None:
    lens = Rule(re.compile("lens"), re.compile("(?!)"))
    rankings = {"case": ["slate", "case"], "lens": ["film", "slate"], "cases": []}
    found = figures_of(
        {"case": CASE, "lens": lens, "cases": CASE}, {"case": 2, "lens": 0, "cases": 2}, TITLES, rankings
    )
    assert found.precision.tolist() == pytest.approx([0.5, math.nan, 0], nan_ok=True)
    assert found.first.tolist() == pytest.approx([0, math.nan, 0], nan_ok=True)
    assert [figure["value"] for figure in found.summary().values()] == [0.25, 0]


@given(st.lists(st.sampled_from(sorted(TITLES)), unique=True))
def test_precision_is_a_share(ids: list[str]) -> None:
    assert 0 <= CASE.precision([TITLES[id] for id in ids], CASE.existing(TITLES.values())) <= 1


def test_rules_are_read_by_half(tmp_path: Path) -> None:
    """An empty `wrong` excludes nothing; case does not matter."""
    path = tmp_path / "q.csv"
    path.write_text(HEADER + "case,case,,development\nlens,lens,cap,held-out\n")
    assert [*read_rules(path)] == ["case", "lens"]
    assert [*read_rules(path, "held-out")] == ["lens"]
    assert read_rules(path)["case"].holds("CASE - DVD")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query,right,half\n", "has no column 'wrong'"),
        (HEADER + "tv,tv,,test\n", "line 2: half is 'test'; write development or held-out"),
        (HEADER + "tv,tv,,held-out\ntv,tv,,held-out\n", "line 3: query 'tv' is empty or repeated"),
        (HEADER + "tv,(tv,,held-out\n", "line 2: right is no regular expression"),
    ],
)
def test_a_wrong_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "q.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_rules(path)


def test_the_halves_of_the_project_s_queries() -> None:
    """A hash decides the half, so that nobody chooses it."""
    halves = {half: read_rules(QUERIES, half) for half in HALVES}
    assert {zlib.crc32(query.encode()) % 2 for query in halves["development"]} == {0}
    assert {zlib.crc32(query.encode()) % 2 for query in halves["held-out"]} == {1}
    assert sum(map(len, halves.values())) == len(read_rules(QUERIES))
