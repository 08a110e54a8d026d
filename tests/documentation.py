"""The code blocks of README and docs/, and whether a test runs them.

A block is run unless a comment stands right above it:

    <!-- not run: REASON -->    a test or CI elsewhere runs it, or it needs a cluster, a GPU, hours …
    <!-- run last: REASON -->   it is run after all other pages
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FENCE = re.compile(
    r"(?P<mark>^[ ]*<!-- (?P<kind>not run|run last): (?P<reason>.*?) -->\n)?"
    r"^(?P<indent>[ ]*)```(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block. `mark` is "", "not run" or "run last"."""

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""
    reason: str = ""

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Every page that a person wrote, the tutorial first."""
    docs = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "generated" not in path.parts]
    tutorial = ROOT / "docs" / "tutorial.md"
    return [tutorial, ROOT / "README.md", ROOT / "README.zh.md", *(path for path in docs if path != tutorial)]


def blocks(page: Path) -> list[Block]:
    text = page.read_text("utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("indent")) + 1,
            found["language"].strip(),
            textwrap.dedent(found["text"]),
            found["kind"] or "",
            (found["reason"] or "").strip(),
        )
        for found in _FENCE.finditer(text)
    ]
