"""Reads CSV: fields between commas, semicolons, tabs or vertical bars. The header shows which."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path
from typing import TextIO

from catalog.encodings import open_text
from catalog.files import MAX_ROW, FileRefused, Row, has_bad_bytes, numbered_lines

_DELIMITERS = ",;\t|"
_MAX_COLUMNS = 2_000
# Blank lines above the header.
_MAX_BLANK = 1_000
# Characters of one field. A longer one usually begins with a quotation mark that is never closed.
csv.field_size_limit(1 << 20)


def delimited_header(path: Path) -> tuple[list[str], str]:
    """(the column names, without spaces around them; the separator of fields). Raises FileRefused."""
    with open_text(path, newline="") as text:
        table = _Table(path, text)
        return table.header, table.delimiter


def delimited_rows(path: Path) -> Iterator[Row]:
    with open_text(path, newline="") as text:
        yield from _Table(path, text)


class _Table:
    def __init__(self, path: Path, text: TextIO) -> None:
        self._name = path.name
        lines = self._lines(text)
        blank = 0
        first = next(lines, "")
        while first and not first.strip():
            blank += 1
            if blank > _MAX_BLANK:
                raise FileRefused(f"{self._name} begins with more than {_MAX_BLANK} blank lines; remove them")
            first = next(lines, "")
        # Excel's own way to name the delimiter.
        if first.startswith("sep=") and len(first.strip()) == 5:
            delimiter, kept = first[4], ["\n"]
        else:
            delimiter, kept = self._delimiter(first, path), [first]
        self.delimiter = delimiter
        self._reader = csv.reader(chain(repeat("\n", blank), kept, lines), delimiter=delimiter)
        self.header = self._read_header()

    def __iter__(self) -> Iterator[Row]:
        while True:
            line = self._reader.line_num + 1
            try:
                fields = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(line, {}, f"is not CSV: {error}{self._span(line)}")
                continue
            if fields:  # not a blank line
                yield self._row(line, fields)

    def _row(self, line: int, fields: list[str]) -> Row:
        raw = self.delimiter.join(fields)
        if has_bad_bytes(raw):
            return Row(line, {}, "is not UTF-8; save the file as UTF-8", raw.encode("utf-8", "replace").decode())
        count = len(self.header)
        if len(fields) < count or any(extra.strip() for extra in fields[count:]):
            return Row(line, {}, f"has {len(fields)} fields, but the header has {count}{self._span(line)}", raw)
        return Row(line, dict(zip(self.header, fields, strict=False)), raw=raw)

    def _span(self, line: int) -> str:
        last = self._reader.line_num
        return f"; it reaches to line {last}: is a quotation mark not closed?" if last > line else ""

    def _lines(self, text: TextIO) -> Iterator[str]:
        for number, line in numbered_lines(text):
            if line is None:
                raise FileRefused(f"{self._name}: line {number} has more than {MAX_ROW >> 20} million characters")
            yield line

    def _delimiter(self, line: str, path: Path) -> str:
        """The one that makes the most columns; in doubt the usual one of the kind of file."""
        usual = "," if path.name.lower().removesuffix(".gz").endswith(".csv") else "\t"

        def columns(delimiter: str) -> int:
            try:
                return len(next(csv.reader([line], delimiter=delimiter), []))
            except csv.Error:
                return 0

        return max(_DELIMITERS, key=lambda delimiter: (columns(delimiter), delimiter == usual))

    def _read_header(self) -> list[str]:
        try:
            names = [name.strip() for name in next((fields for fields in self._reader if fields), [])]
        except csv.Error as error:
            raise FileRefused(f"{self._name}: its first line is not a header: {error}") from None
        if any(has_bad_bytes(name) for name in names):
            raise FileRefused(f"{self._name}: its first line is not a header in UTF-8; save the file as UTF-8")
        if len(names) > _MAX_COLUMNS:
            raise FileRefused(f"{self._name} has {len(names)} columns; at most {_MAX_COLUMNS}")
        if twice := {name for name in names if name and names.count(name) > 1}:
            raise FileRefused(f"{self._name} has the column {min(twice)!r} twice; rename or remove one")
        return names
