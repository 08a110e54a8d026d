"""The recorded answers of the demo shop: what a change of structure must leave as it is.

Where another answer is wanted, record again in the same change and say why:
`python -m tests.golden record --out tests/golden/demo_shop.json`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from demo.catalogue import build_catalogue, write_catalogue
from tests.golden.recording import Recording, differences, record
from tests.golden.suite import DEMO_SIZE, Catalogue, golden_suite

RECORDED = Path(__file__).parents[1] / "golden" / "demo_shop.json"


def test_the_demo_shop_answers_as_recorded(tmp_path: Path) -> None:
    """Ids, order, prices, totals, facets and explanations are those of the recording, scores within .001."""
    expected = Recording.read(RECORDED)
    write_catalogue(tmp_path / "demo.jsonl.gz", build_catalogue(size=DEMO_SIZE))
    with golden_suite(tmp_path / "state", Catalogue(tmp_path / "demo.jsonl.gz")) as suite:
        found = record(suite, expected.plan)
    lines = list(differences(expected, found))
    assert not lines, "\n".join([f"{len(lines)} differences", *lines])


def test_a_difference_is_named(tmp_path: Path) -> None:
    """A recording can be written and read; another order, price or total is reported with the request's id."""
    before = Recording.read(RECORDED)
    before.write(tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_bytes() == RECORDED.read_bytes()
    answers = list(Recording.read(tmp_path / "copy.json").answers)
    rows = answers[0]["results"]
    swapped = [rows[1], [*rows[0][:3], "1 USD"], *rows[2:]]
    answers[0] = answers[0] | {"results": swapped, "total": answers[0]["total"] + 1}
    lines = list(differences(before, replace(before, answers=answers)))
    assert [line.split(": was")[0] for line in lines] == [
        f"plain-01: {where}" for where in ("order", f"{rows[0][0]}[2]", "total")
    ]


def test_scores_may_differ_by_rounding() -> None:
    """A score that is .001 away is the same; one further away is not."""
    before = Recording.read(RECORDED)

    def moved(by: float) -> Recording:
        first = before.answers[0]
        rows = [[id, round(score + by, 4), *prices] for id, score, *prices in first["results"]]
        return replace(before, answers=[first | {"results": rows}, *before.answers[1:]])

    assert not list(differences(before, moved(0.001)))
    assert len(list(differences(before, moved(0.0011)))) == len(before.answers[0]["results"])
