"""Reads a file of queries."""

from __future__ import annotations

from pathlib import Path

from catalog.rows import FileRefused, read_rows


def read_query_rows(path: Path) -> list[tuple[str, int]]:
    """(query, how often it was sent) of each row. A .txt file has one query a line, CSV and JSON lines have `query` and
    optionally `count`. Raises FileRefused.
    """
    if path.suffix == ".txt":
        if not path.is_file():
            raise FileRefused(f"{path} is not a file")
        return [(line, 1) for line in path.read_text("utf-8", "replace").splitlines()]
    values = [row.values for row in read_rows(path) if not row.problem]
    if values and not any("query" in row for row in values):
        raise FileRefused(f"{path} has no column 'query'; it has {', '.join(values[0])}")
    return [(str(row.get("query") or ""), _whole(row.get("count"))) for row in values]


def _whole(value: object) -> int:
    text = str(value or "1")
    return max(1, int(text)) if text.isdecimal() else 1
