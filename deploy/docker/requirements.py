"""`python requirements.py EXTRA,…`: the requirements of pyproject.toml with these extras, one a line.

An image installs them in a layer of its own, before its code: after an edit of the code pip downloads nothing.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path


def requirements(project: dict[str, object], extras: list[str]) -> list[str]:
    """`project`: the table of that name. An extra that names others of the project brings theirs. Sorted."""
    optional: dict[str, list[str]] = project["optional-dependencies"]  # type: ignore[assignment]
    found: set[str] = set(project["dependencies"])  # type: ignore[call-overload]
    waiting, known = list(extras), set[str]()
    while waiting:
        extra = waiting.pop()
        if extra in known:
            continue
        known.add(extra)
        for line in optional[extra]:
            if own := re.fullmatch(rf"{project['name']}\[(.+)\]", line):
                waiting += own[1].split(",")
            else:
                found.add(line)
    return sorted(found)


if __name__ == "__main__":
    table = tomllib.loads(Path("pyproject.toml").read_text("utf-8"))["project"]
    print("\n".join(requirements(table, sys.argv[1].split(","))))
