"""The pool of a judgement: what is kept when it is made again, and the figures of its grades."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from math import log2
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.rows import FileRefused
from cli.judging import (
    MAX_SETTINGS,
    Judged,
    Pool,
    add_results,
    figures_of,
    parse_setting,
    parse_settings,
    read_pool,
    report_of,
    settings_of,
    write_pool,
)

texts = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)


def pooled(results: Mapping[str, Mapping[str, str]]) -> Pool:
    """By query and setting: the ids of the results, one letter each."""
    pool: Pool = {}
    for query, settings in results.items():
        for setting, ids in settings.items():
            add_results(pool, query, setting, [(id, f"Title {id}") for id in ids])
    return pool


def graded(pool: Pool, query: str, grades: Mapping[str, int]) -> None:
    for id, grade in grades.items():
        pool[query][id].grade = grade


@given(
    st.dictionaries(
        texts,
        st.dictionaries(
            texts,
            st.builds(
                Judged, texts, st.none() | st.integers(0, 3),
                st.fixed_dictionaries({"a": st.integers(0, 10), "b-2": st.integers(0, 10)}),
                st.fixed_dictionaries({"note": st.just("") | texts}),
            ),
            min_size=1, max_size=4,
        ),
        min_size=1, max_size=4,
    )
)  # fmt: skip
def test_a_file_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, pool: Pool) -> None:
    """Grades, positions and a person's own columns survive, whatever the texts are."""
    path = tmp_path_factory.mktemp("pool") / "pool.csv"
    write_pool(path, pool)
    assert read_pool(path) == pool


def test_again(tmp_path: Path) -> None:
    """A second run keeps grades and rows, adds what is new, and replaces the positions of its settings."""
    pool = pooled({"mug": {"a": "xyz"}, "lamp": {"a": "x"}})
    graded(pool, "mug", {"x": 3, "y": 0})
    assert add_results(pool, "mug", "a", [("y", ""), ("w", "W")]) == 1
    assert add_results(pool, "mug", "b", [("x", "")]) == 0
    positions = {id: (entry.grade, entry.positions) for id, entry in pool["mug"].items()}
    assert positions == {
        "x": (3, {"a": 0, "b": 1}), "y": (0, {"a": 1, "b": 0}), "z": (None, {"a": 0, "b": 0}),
        "w": (None, {"a": 2, "b": 0}),
    }  # fmt: skip
    assert settings_of(pool) == ["a", "b"]
    assert pool["lamp"]["x"].positions == {"a": 1}


def test_the_order_hides_the_positions(tmp_path: Path) -> None:
    """Rows of a query have one order, whatever setting found them first."""
    orders = []
    for ids in ("abcdefgh", "hgfedcba"):
        write_pool(tmp_path / "pool.csv", pooled({"mug": {"a": ids}}))
        with (tmp_path / "pool.csv").open() as file:
            orders.append([row["product_id"] for row in csv.DictReader(file)])
    assert orders[0] == orders[1] != sorted(orders[0])


def test_figures() -> None:
    """NDCG@10 has gains 2^grade - 1 and the best order of all graded products as ideal; P@5 counts grades from 2 on."""
    pool = pooled({"mug": {"a": "xyz", "b": "w"}, "ungraded": {"a": "x"}, "wrong": {"a": "x", "b": ""}})
    graded(pool, "mug", {"x": 1, "y": 3, "w": 2})
    graded(pool, "wrong", {"x": 0})
    a, b = figures_of(pool, "a"), figures_of(pool, "b")
    ideal = 7 + 3 / log2(3) + 1 / log2(4)
    assert (a.queries, b.queries) == (["mug", "wrong"], ["mug", "wrong"])
    assert a.ndcg[0] == pytest.approx((1 + 7 / log2(3)) / ideal)
    assert b.ndcg[0] == pytest.approx(3 / ideal)
    assert str(a.ndcg[1]) == "nan"
    assert (list(a.precision), list(b.precision)) == ([0.2, 0.0], [0.2, 0.0])
    assert (a.unjudged, b.unjudged) == (1, 0)


def test_a_comparison() -> None:
    """Of two settings: the paired difference over the queries that both have, and the largest differences first."""
    pool = pooled({f"q{n}": {"a": "xy", "b": "yx" if n else "xy"} for n in range(4)} | {"alone": {"a": "x"}})
    for query in ("q0", "q1", "q2"):
        graded(pool, query, {"x": 3, "y": 1})
    graded(pool, "q3", {"x": 0, "y": 3})
    graded(pool, "alone", {"x": 3})
    change = report_of(pool, [])["difference"]
    assert (change["settings"], change["queries"], change["better"], change["worse"]) == (["a", "b"], 4, 1, 2)
    assert [each["query"] for each in change["largest"]] == ["q3", "q1", "q2"]
    low, high = change["ndcg@10"]["interval"]
    assert low <= change["ndcg@10"]["mean"] <= high
    assert "difference" not in report_of(pool, ["a"])
    assert report_of(pool, ["b", "a"])["difference"]["better"] == 2


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("query,product_id,title\nq,1,t\n", "no column 'grade'"),
        ("query,product_id,title,grade\nq,1,t,4\n", "line 2: grade is '4'; write a whole number from 0 to 3"),
        ("query,product_id,title,grade\nq,1,t,good\n", "line 2: grade is 'good'"),
        ("query,product_id,title,grade,position:a\nq,1,t,2,11\n", "line 2: position:a is '11'"),
        ("query,product_id,title,grade\nq,1,t,2\nq,1,t,3\n", "line 3: '1' comes twice for 'q'"),
        ("query,product_id,title,grade\n,1,t,2\n", "line 2: query or product_id is empty"),
    ],
)
def test_wrong_files(tmp_path: Path, content: str, problem: str) -> None:
    """A wrong file is refused with the line and what to write."""
    (tmp_path / "pool.csv").write_text(content)
    with pytest.raises(FileRefused, match=problem.replace(".", r"\.")):
        read_pool(tmp_path / "pool.csv")


def test_a_spreadsheet_writes_decimals(tmp_path: Path) -> None:
    """ "2.0" is the grade 2."""
    (tmp_path / "pool.csv").write_text("query,product_id,title,grade,position:a\nq,1,t,2.0,1.0\n")
    assert read_pool(tmp_path / "pool.csv") == {"q": {"1": Judged("t", 2, {"a": 1})}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Two words", "is no name"),
        ("a=nowhere", "neither host:port nor the JSON"),
        ("a=[1]", "it is no object"),
        ('a={"litral_query": true}', 'no field named "litral_query"'),
        ('a={"query": "mug"}', "leave out query"),
    ],
)
def test_wrong_settings(text: str, problem: str) -> None:
    """A wrong setting is refused with its name and what is wrong."""
    with pytest.raises(ValueError, match=problem):
        parse_setting(text)


def test_settings() -> None:
    """A setting is a name, another gateway, or fields of the request; names differ, and there are few."""
    plain, other, literal = parse_settings(["a", "b=host:50050", 'c={"literal_query": true, "locale": "zh"}'])
    assert (plain.target, other.target) == ("", "host:50050")
    message = literal.of_query("mug")
    assert (message.query, message.page_size, message.literal_query, message.locale) == ("mug", 10, True, "zh")
    with pytest.raises(ValueError, match="a comes twice"):
        parse_settings(["a", "a=h:1"])
    with pytest.raises(ValueError, match=f"at most {MAX_SETTINGS}"):
        parse_settings([f"s{n}" for n in range(MAX_SETTINGS + 1)])


def test_no_grades() -> None:
    """Without a grade there is no report; the message says what to fill in."""
    with pytest.raises(ValueError, match="fill in the column `grade`"):
        report_of(pooled({"mug": {"a": "x"}}), [])
    with pytest.raises(ValueError, match="'z' is not in the file; it has a"):
        report_of(pooled({"mug": {"a": "x"}}), ["z"])
