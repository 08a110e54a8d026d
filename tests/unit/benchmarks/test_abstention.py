"""The queries of the abstention benchmark, its shares, and the fit of the weights of relevance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.abstention import FOREIGN, HALVES, OWN, QUERIES, figures_of, read_queries, share
from benchmarks.relevance_weights import Shop, fitted
from services.retrieval.domain.relevance import WEIGHTS

HEADER = "shop,kind,query,half\n"


def read(folder: Path, text: str) -> dict[str, str]:
    path = folder / "queries.csv"
    path.write_text(text, encoding="utf-8")
    return read_queries(path, "s")


def test_the_queries_of_the_project() -> None:
    """At least 200 own and foreign ones of the electronics shop in one of the halves."""
    for kind in (OWN, FOREIGN):
        halves = [read_queries(QUERIES, "electronics", half) for half in HALVES]
        assert sum(each == kind for half in halves for each in half.values()) >= 400
    demo = read_queries(QUERIES, "demo")
    assert {OWN, FOREIGN} == set(demo.values())
    assert any(not query.isascii() for query in demo)


def test_read(tmp_path: Path) -> None:
    """Those of the shop alone."""
    rows = "s,own,tv,development\nother,own,sofa,held-out\ns,foreign,sofa,held-out\n"
    assert read(tmp_path, HEADER + rows) == {"tv": OWN, "sofa": FOREIGN}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("shop,kind,query\n", "has no column 'half'"),
        (HEADER + "s,mine,tv,development\n", "line 2: kind is 'mine'"),
        (HEADER + "s,own,tv,first\n", "line 2: half is 'first'"),
        (HEADER + "s,own,tv,development\ns,foreign,tv,held-out\n", "line 3: query 'tv' is empty or repeated"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, problem: str) -> None:
    """The message names the line and the column."""
    with pytest.raises(ValueError, match=problem):
        read(tmp_path, text)


def test_the_share() -> None:
    """Wilson's interval: also of none it is no point."""
    assert share([False] * 200) == {"value": 0.0, "interval_95": [0.0, 0.0188], "queries": 200}
    assert share([True] * 90 + [False] * 10)["interval_95"] == [0.8256, 0.9448]


def answer(reason: str, **evidence: float) -> dict[str, Any]:
    return {"reason": f"NO_GOOD_MATCH_REASON_{reason}", "evidence": dict.fromkeys(WEIGHTS, 0.0) | evidence}


def test_figures() -> None:
    """Each reason counts."""
    answers = {
        "tv": answer("UNSPECIFIED"),
        "sofa": answer("WORDS"),
        "rug": answer("CONDITIONS"),
        "pen": answer("WORDS"),
    }
    found = figures_of({"tv": OWN, "sofa": OWN, "rug": FOREIGN, "pen": FOREIGN}, answers)
    assert {kind: of["value"] for kind, of in found.items()} == {OWN: 0.5, FOREIGN: 1.0}


def test_the_fit() -> None:
    """What separates own from foreign queries has a weight, what does not has none."""
    answers = {f"q{n}": answer("WORDS", covered=n % 2, cosine=n / 20) for n in range(20)}
    kinds = {query: OWN if each["evidence"]["covered"] else FOREIGN for query, each in answers.items()}
    shop = Shop.of("s", {"kinds": kinds, "answers": answers})
    weights, bias = fitted([shop])
    found = dict(zip(WEIGHTS, weights, strict=True))
    assert found["covered"] > 1
    assert found["typed"] == pytest.approx(0, abs=1e-6)
    assert shop.shares(weights, bias) == (0.0, 1.0)
