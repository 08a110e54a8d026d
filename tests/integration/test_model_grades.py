"""`kairos judge grade` with a real endpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.judging import Judged, Pool, read_pool, write_pool
from cli.main import app
from cli.model_grades import agreement_of, with_model_grades
from tests.integration.openai_server import ScriptedEndpoint, serving


def pool_of(people: list[int | None]) -> Pool:
    rows = {f"p{number}": Judged(f"Tent {number}", grade, {"default": 1}) for number, grade in enumerate(people)}
    return {"tent": rows}


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["judge", *arguments])
    return result.exit_code, result.output


def test_grades_and_agreement(tmp_path: Path) -> None:
    """The model's grades stand beside those of people, who keep theirs; the agreement is printed."""
    file = tmp_path / "pool.csv"
    write_pool(file, pool_of([3, 3, 0, None]))
    graded = {str(number): 3 for number in range(1, 5)}
    endpoint = ScriptedEndpoint([f"Here it is: {json.dumps(graded)}"])
    with serving(endpoint) as url:
        code, text = run("grade", str(file), "--endpoint", url, "--model", "m", "--json")
    assert code == 0, text
    report = json.loads(text)
    assert (report["new_grades"], report["rows"], report["kappa"]) == (4, 3, pytest.approx(0))
    found = read_pool(file)["tent"]
    assert [found[f"p{number}"].grade for number in range(4)] == [3, 3, 0, None]
    assert {entry.others["model_grade"] for entry in found.values()} == {"3"}
    assert with_model_grades({"tent": found})["tent"]["p3"].grade == 3


@pytest.mark.parametrize("answer", ["error", "garbage"])
def test_a_broken_endpoint(tmp_path: Path, answer: str) -> None:
    """The file stays as it is, and the error says so."""
    file = tmp_path / "pool.csv"
    write_pool(file, pool_of([3, None]))
    before = file.read_bytes()
    with serving(ScriptedEndpoint([answer])) as url:
        code, text = run("grade", str(file), "--endpoint", url, "--model", "m")
    assert code == 1
    assert "nothing was written" in text
    assert file.read_bytes() == before


def test_kappa() -> None:
    """Cohen's kappa of a table that is known: 20 and 15 of 50 equal, .4. Far disagreements weigh more."""
    rows = [(0, "0")] * 20 + [(0, "1")] * 5 + [(1, "0")] * 10 + [(1, "1")] * 15
    pool = {"q": {str(n): Judged("t", person, {}, {"model_grade": model}) for n, (person, model) in enumerate(rows)}}
    assert agreement_of(pool)["kappa"] == pytest.approx(0.4)
    near, far = ({"q": {"a": Judged("t", 3, {}, {"model_grade": one}), "b": Judged("t", 0, {}, {"model_grade": "0"})}}
                 for one in ("2", "0"))  # fmt: skip
    assert agreement_of(near)["weighted_kappa"] > (agreement_of(far)["weighted_kappa"] or 0)
