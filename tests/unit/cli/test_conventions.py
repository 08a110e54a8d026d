"""What holds for every command of `kairos`, and for every program that a person starts."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.main import app


def commands(command: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """(words, command) of each command that is no group."""
    command = command or typer.main.get_command(app)
    if not hasattr(command, "commands"):
        yield " ".join(path), command
        return
    for name, inner in command.commands.items():
        yield from commands(inner, (*path, name))


COMMANDS = dict(commands())


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_can_print_json(name: str) -> None:
    """Each command has --json, and a help text for each option."""
    options = {name: option for option in COMMANDS[name].params for name in option.opts}
    assert "--json" in options
    assert all(option.help for option in options.values())


def test_the_version() -> None:
    """--version prints the name and the version, without a gateway."""
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout.split()[0]) == (0, "kairos")
    assert result.stdout.split()[1][0].isdigit()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("kairos cat", "catalog"), ("kairos events rec", "record"), ("kairos events record --it", "--item")],
)
def test_a_shell_completes_commands(typed: str, offered: str) -> None:
    """The words that a shell offers are those of the command."""
    asked = {"_KAIROS_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    result = CliRunner().invoke(app, [], env=asked, prog_name="kairos")
    assert offered in result.stdout.split()


@pytest.mark.parametrize("module", ["benchmarks.explain", "services.gateway", "services.learner", "cli.demo"])
def test_a_program_has_help(module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--help prints the usage and starts nothing, also without the libraries of an optional extra."""
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=False)
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out
