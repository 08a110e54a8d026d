"""`kairos config check`."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner, Result

from cli.main import app


def check(folder: Path, text: str, *options: str) -> Result:
    file = folder / "serving.yaml"
    file.write_text(text, "utf-8")
    return CliRunner().invoke(app, ["config", "check", str(file), *options], env={"COLUMNS": "200"})


def test_a_valid_file(tmp_path: Path) -> None:
    """The version and every placement are printed."""
    result = check(tmp_path, "version: v1\nplacements: {footer: {sources: [{source: trending}]}}\n")
    assert result.exit_code == 0
    assert "version v1+" in result.stdout
    assert "footer" in result.stdout
    assert "similar-items" in result.stdout


def test_an_invalid_file(tmp_path: Path) -> None:
    """Every wrong field is named with its path, and the exit code is 1."""
    text = "version: v1\nplacements: {footer: {sources: [{source: magic}], minimum_results: -1}}\n"
    result = check(tmp_path, text)
    assert result.exit_code == 1
    assert "placements.footer.sources[0].source" in result.stderr
    as_json = check(tmp_path, text, "--json")
    assert as_json.exit_code == 1
    problems = json.loads(as_json.stdout)["problems"]
    assert set(problems) == {"placements.footer.sources[0].source", "placements.footer.minimum_results"}
