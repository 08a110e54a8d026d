"""Every command of README and docs/ that is not marked otherwise runs, in a folder that begins empty."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo import COMMANDS
from demo.catalogue import build_catalogue, write_catalogue
from tests.documentation import ROOT, Block, blocks, pages
from tests.e2e.documentation.reader import Reader

TUTORIAL = ROOT / "docs" / "tutorial.md"


def runnable(page: Path, mark: str = "") -> list[Block]:
    return [block for block in blocks(page) if block.language in ("sh", "python") and block.mark == mark]


OTHERS = [page for page in pages() if page != TUTORIAL and runnable(page)]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Has followed the tutorial, which starts a suite and leaves it running."""
    reader = Reader(tmp_path_factory.mktemp("reader"))
    try:
        reader.follow(runnable(TUTORIAL))
        yield reader
    finally:
        reader.kairos("down")


@pytest.fixture(scope="module")
def demo_shop(reader: Reader) -> None:
    """README searches the demo shop; a small edition of it is beside the tutorial's products."""
    write_catalogue(reader.folder / "demo.jsonl.gz", build_catalogue(size=200))
    reader.kairos("catalog", "import", "demo.jsonl.gz", "--strict")


def test_the_tutorial(reader: Reader) -> None:
    """What the tutorial says of its answers holds: one rejected row, the condition that was read, no boots for Ana."""
    imported, searched, recommended, explained = (
        reader.said[next(block.place for block in blocks(TUTORIAL) if command in block.text)]
        for command in ("catalog import", 'under \\$100"', "events record --user ana", "explain b1")
    )
    assert imported.splitlines()[1].split()[:4] == ["14", "13", "0", "1"]
    assert "is empty; it is required" in imported
    assert "price: under $100" in searched
    assert "tent" in recommended
    assert "Leather hiking boots" not in recommended
    assert "query match" in explained


@pytest.mark.usefixtures("demo_shop")
@pytest.mark.parametrize("page", OTHERS, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page(reader: Reader, page: Path) -> None:
    """Its commands and its Python end without an error."""
    reader.follow(runnable(page))


@pytest.mark.usefixtures("demo_shop")
def test_the_commands_of_the_demo(reader: Reader) -> None:
    """The commands that `make demo` offers at its end work on the demo shop; the recorded click is in the profile."""
    for line in COMMANDS.splitlines():
        if "kairos" in line:
            reader.kairos(*shlex.split(line)[1:])
    assert "kitchen-mugs-0001" in reader.kairos("user", "show", "me")


def test_the_end(reader: Reader) -> None:
    """The commands that stop the suite come last, and stop it."""
    for page in pages():
        reader.follow(runnable(page, "run last"))
    assert "the suite is not running" in reader.kairos("status", expected=1)
