"""`kairos rules check`, and what `kairos rules preview` refuses before it calls the gateway."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from cli.main import app
from cli.render import print_merchandising
from kairos.gateway.v1 import gateway_pb2

FILE = """
rules:
- id: sale
  trigger: {queries: [{equals: shoes}, {contains: 跑步鞋}]}
  validity:
    valid_from: 2026-11-27T00:00:00+01:00
    valid_until: 2026-12-01
    daily_windows: [{starts_at: "09:00", ends_at: "18:00", days: [monday]}]
    time_zone: Europe/Berlin
  actions:
  - pin: {product_id: p1, position: 1}
  - boost: {products: {filter: {brands: [Acme]}}, multiplier: 2}
  - pin: {product_id: p2, position: 2, is_soft: true}
"""


def rules(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["rules", *arguments], env={"COLUMNS": "200"})


def test_a_file(tmp_path: Path) -> None:
    """The command prints how many rules there are, and their actions."""
    file = tmp_path / "rules.yaml"
    file.write_text(FILE)
    found = json.loads(rules("check", str(file), "--json").stdout)
    assert (found["rules"], found["actions"]) == (1, {"Pin": 2, "Boost": 1})
    assert "1 rules, version" in rules("check", str(file)).stdout


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules: {}", "rules: is no list; write it as a list"),
        ("rule: []", "rule: is unknown; use one of rules"),
        ("[]", "file: is no mapping; give it fields: rules"),
        ("rules: [{id: 1}]", "rules[0].id: is not a text; put it in quotes"),
        ("rules: [{id: a, actions: [{pin: {position: 1.5}}]}]", "rules[0].actions[0].pin.position: is no whole number"),
        ("rules: [{id: a, actions: [{pin: {}, banner: {}}]}]", "actions[0].banner: is set together with pin"),
        (
            "rules: [{id: a, actions: [{boost: {multiplier: x}}]}]",
            "boost.multiplier: is no number",
        ),
        ("rules: [{id: a, actions: [{pin: {is_soft: 1}}]}]", "pin.is_soft: is neither true nor false"),
        ("rules: [{id: a, validity: {valid_from: x}}]", "validity.valid_from: is no time; write it as 2026"),
        ("rules: [{id: a, id: b}]", "'id' occurs twice"),
        ("rules: [{id: a, actions: [{pin: {product_id: p, position: 200}}]}]", "pin.position: is 200; send 1 to 100"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, problem: str) -> None:
    """Each is named with its field and the remedy, with the exit code 2, also before a preview."""
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    result = rules("check", str(file))
    assert (result.exit_code, problem in result.output) == (2, True), result.output
    if "200" not in problem:
        assert problem in rules("preview", str(file)).output


def test_an_unknown_rule(tmp_path: Path) -> None:
    """A preview of a rule that the file does not have names those that it has."""
    file = tmp_path / "rules.yaml"
    file.write_text(FILE)
    result = rules("preview", str(file), "--rule", "no-rule")
    assert (result.exit_code, "it has sale" in result.output) == (2, True)


def test_rules_of_an_answer() -> None:
    """A search prints the rules that had an effect, the other text and the address; without rules nothing."""

    def printed(said: gateway_pb2.Merchandising) -> str:
        console = Console(file=io.StringIO(), width=200)
        print_merchandising(console, said)
        return str(console.file.getvalue())  # type: ignore[attr-defined]

    said = gateway_pb2.Merchandising(searched_text="boots", redirect_url="/sale")
    said.applied_rules.add(id="a")
    said.applied_rules.add(id="b")
    assert printed(said) == "rules search for: boots\nrules redirect to: /sale\nrules: a, b\n"
    assert printed(gateway_pb2.Merchandising()) == ""
