"""`kairos domain check`, and answers about products without brand and price."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console
from typer.testing import CliRunner, Result

from cli.main import app
from cli.render import print_interpretation, print_results
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from tests.domains.catalogues import domain_folder


def check(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["domain", "check", *arguments], env={"COLUMNS": "200"})


def printed(results: list[gateway_pb2.Result]) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_results(console, results, [], explain=True)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_what_a_domain_has() -> None:
    """The command prints what the services read from the folder; without one, from retail."""
    result = check(str(domain_folder("courses")), "--json")
    assert result.exit_code == 0
    read = json.loads(result.stdout)
    assert read["attributes"] == ["level", "language", "time", "format"]
    assert read["conditions"] == ["categories"]
    assert "prices, brands, categories" in check().stdout


def test_mistakes_of_all_files(tmp_path: Path) -> None:
    """Mistakes of the encoder's and the gateway's files are named together, with the exit code 2."""
    (tmp_path / "conditions.yaml").write_text("price: true")
    (tmp_path / "texts.yaml").write_text("fr: {}")
    result = check(str(tmp_path))
    assert result.exit_code == 2
    assert "conditions.yaml:1: price: is unknown" in result.output
    assert "texts.yaml:1: fr: is unknown" in result.output


def test_no_empty_columns() -> None:
    """Results without brands and prices have no columns for them, and no reasons that contribute nothing."""
    course = gateway_pb2.Result(position=1, score=1.0)
    course.product.id, course.product.title = "c", "Yoga"
    course.reasons.add(type=ranker_pb2.REASON_TYPE_QUERY_MATCH, contribution=1.0)
    course.reasons.add(type=ranker_pb2.REASON_TYPE_PRICE_AFFINITY, contribution=0.0)
    text = printed([course])
    assert [word for word in ("brand", "price") if word in text] == []
    assert "query match +1.00" in text
    course.product.brand = "Acme"
    assert "brand" in printed([course])


def test_other_spellings() -> None:
    """What was looked up beside a word is printed with it."""
    read = gateway_pb2.QueryInterpretation(language="en")
    read.also_searched.add(matched_text="steal", alternative="steel")
    console = Console(file=io.StringIO(), width=200)
    print_interpretation(console, read)
    assert "also searched: “steel” for “steal”" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_attribute_of_a_condition() -> None:
    """A condition is printed with the name of its attribute."""
    read = gateway_pb2.QueryInterpretation(language="en")
    read.constraints.add(type=encoder_pb2.CONSTRAINT_TYPE_ATTRIBUTE, attribute="level", value="Advanced")
    console = Console(file=io.StringIO(), width=200)
    print_interpretation(console, read)
    assert "level: Advanced" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_line_before_what_does_not_meet_the_conditions() -> None:
    """Once, before the first such result; none without conditions."""
    for flags, lines in (((True, False, False), 1), ((True, True), 0), ((None, None), 0)):
        results = [gateway_pb2.Result(position=1, meets_conditions=flag) for flag in flags]
        assert printed(results).count("do not meet all conditions") == lines
