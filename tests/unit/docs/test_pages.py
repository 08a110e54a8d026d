"""The pages name commands, options, files and pages that exist, and every command is run or says why not."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from cli.demo import COMMANDS
from cli.main import app
from docs._reference.settings import MODELS, groups
from tests.documentation import ROOT, Block, blocks, pages

# Languages that a test runs, and those of blocks that are no commands.
RUN, SHOWN = {"sh", "python"}, {"yaml", "text", "json", "js"}
_HEREDOC = re.compile(r"<<'?(\w+)'?([^\n]*)\n.*?\n\1$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
# Files of this repository, in a code span.
_FILE = re.compile(r"`((?:services|training|catalog|cli|ops|demo|benchmarks|deploy|tests|protos|docs)/[\w./-]+\.\w+)`")
# A variable that is written out; `KAIROS_RANKER_*`, `KAIROS_<SERVICE>_…` and those of Kubernetes are none.
_VARIABLE = re.compile(r"\bKAIROS_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_]|[*<…])")
_POINTER = re.compile(r"docs/[\w./-]+\.md")
BLOCKS = [block for page in pages() for block in blocks(page) if block.language in RUN]


def commands(block: Block) -> Iterator[list[str]]:
    """The simple commands of a shell block, without here-documents, comments and redirections."""
    text = _HEREDOC.sub(r"\2", block.text).replace("\\\n", " ")
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        for token in lexer:
            if set(token) <= set("();<>|&"):
                yield command
                command = []
            else:
                command.append(token)
        yield command


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_languages_of_blocks(page: Path) -> None:
    """Commands stand in `sh` and `python` blocks, so that none escapes the tests."""
    languages = {block.language for block in blocks(page) if not block.language.startswith("{")}
    assert languages <= RUN | SHOWN


def test_a_block_that_is_not_run_says_why() -> None:
    """Each mark has a reason, and stands right above a block."""
    marked = [block for page in pages() for block in blocks(page) if block.mark]
    assert marked
    assert all(block.reason for block in marked)
    assert all(block.language in RUN for block in marked)
    written = sum(len(re.findall(r"<!-- (?:not run|run last)", page.read_text())) for page in pages())
    assert written == len(marked)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "sh"], ids=lambda block: block.place)
def test_commands_exist(block: Block) -> None:
    """Each `kairos` command takes the words that a page gives it; each module and each target of make exists."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in commands(block):
        while command and re.fullmatch(r"\w+=.*", command[0]):  # a variable for the command
            command = command[1:]
        name = Path(command[0]).name if command else ""
        if name == "kairos":
            _check_words(command[1:])
        elif name == "python" and command[1:2] == ["-m"]:
            assert importlib.util.find_spec(command[2]), f"no module {command[2]}"
        elif name == "make":
            assert {word for word in command[1:] if "=" not in word and word.isalpha()} <= targets


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.language == "python"], ids=lambda block: block.place
)
def test_python_compiles(block: Block) -> None:
    """Each Python block is valid Python."""
    compile(block.text, block.place, "exec")


@pytest.mark.parametrize(
    "page", [ROOT / name for name in ("README.md", "README.zh.md", "CONTRIBUTING.md")], ids=lambda p: p.name
)
def test_links_of_the_repository(page: Path) -> None:
    """A relative link of a page outside the site leads to a file. The site's own links are checked by its build."""
    links = [link for link in _LINK.findall(page.read_text()) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names(page: Path) -> None:
    """A file in a code span exists."""
    assert [name for name in _FILE.findall(page.read_text()) if not (ROOT / name).exists()] == []


@cache
def variables() -> frozenset[str]:
    """Of the settings of all services. They are read from the source code, which takes half a second."""
    return frozenset(
        setting.variable(model.model_config.get("env_prefix", ""))
        for model in MODELS.values()
        for group in groups(model)
        for setting in group.settings
    )


@cache
def command_line() -> Any:
    return typer.main.get_command(app)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_variables_that_a_page_names(page: Path) -> None:
    """A variable of the environment is a setting of a service, or an option of the command."""
    files = {f"{model.model_config.get('env_prefix', '')}CONFIG" for model in MODELS.values()}
    # Of the command, and an example of what Kubernetes sets.
    others = {"KAIROS_TARGET", "KAIROS_API_KEY", "KAIROS_RANKER_SERVICE_HOST"}
    others |= {"KAIROS_CONTROL_TARGET", "KAIROS_CONTROL_API_KEY"}
    assert set(_VARIABLE.findall(page.read_text())) <= variables() | files | others


def test_pages_that_the_code_names() -> None:
    """Each docs/….md in a file of the repository exists."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    missing = set()
    for name in listed.splitlines():
        path = ROOT / name
        if path.suffix in (".py", ".yaml", ".proto", ".toml", ".md", ".conf", "") and path.is_file():
            for pointer in _POINTER.findall(path.read_text("utf-8", errors="ignore")):
                if not (ROOT / pointer).is_file():
                    missing.add(f"{name}: {pointer}")
    assert sorted(missing) == []


def test_the_commands_of_the_demo() -> None:
    """The commands that `make demo` offers at its end are commands of `kairos`."""
    offered = [shlex.split(line) for line in COMMANDS.splitlines() if "bin/kairos" in line]
    assert len(offered) >= 4
    for words in offered:
        _check_words(words[1:])


def test_both_readmes_have_the_same_commands() -> None:
    """README.zh.md is not run: its commands are those of README.md."""
    english, chinese = (
        [command for block in blocks(ROOT / name) if block.language == "sh" for command in commands(block)]
        for name in ("README.md", "README.zh.md")
    )
    assert english == chinese


@pytest.mark.parametrize(
    "words",
    ["events record u1 p1", "events record --item", "search --colour red", "catalog fetch", "explain", "price quote"],
)
def test_words_that_a_command_does_not_take(words: str) -> None:
    """A wrong option or command, and an argument too many or too few, are found."""
    with pytest.raises(AssertionError):
        _check_words(words.split())


def _check_words(words: list[str]) -> None:
    """Follow the words through the groups of the command; the command at the end must take the rest."""
    command = command_line()
    path, waiting = ["kairos"], list(words)
    while waiting and hasattr(command, "commands"):
        word = waiting.pop(0)
        if word.startswith("--"):
            known = {name: option for option in command.params for name in (*option.opts, *option.secondary_opts)}
            assert word in known, f"{' '.join(path)} has no option {word}"
            if not getattr(known[word], "is_flag", False) and waiting:
                waiting.pop(0)
        else:
            if word not in command.commands and hasattr(command, "default_command"):
                waiting, word = [word, *waiting], command.default_command
            assert word in command.commands, f"{' '.join(path)} has no command {word}"
            command = command.commands[word]
            path.append(word)
    if not hasattr(command, "commands"):
        try:
            command.make_context(" ".join(path), waiting)
        except Exception as error:
            raise AssertionError(f"{' '.join(['kairos', *words])}: {error}") from error
