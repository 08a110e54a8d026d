"""Reads the rows of a file with their line numbers, as its format and its layout say.

Formats: CSV and its kin, JSON, XML and Parquet, each plain or .gz. Layouts: see catalog/layouts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from catalog.delimited import delimited_header, delimited_rows
from catalog.encodings import encoding_of
from catalog.files import FileRefused as FileRefused
from catalog.files import Row as Row
from catalog.files import RowRefused as RowRefused
from catalog.json_rows import json_rows
from catalog.layouts import PLAIN, Layout, layout_of
from catalog.parquet_rows import parquet_header, parquet_rows
from catalog.xml_rows import xml_encoding, xml_rows

_PARQUET, _JSON, _XML = (".parquet",), (".jsonl", ".ndjson", ".json"), (".xml", ".rss", ".atom")
_DELIMITED = (".csv", ".tsv", ".tab", ".txt")
_SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
# Items of XML that are looked at for their names.
_SAMPLE = 20


@dataclass(frozen=True)
class Description:
    """What a file was recognised as. Empty: the format has no such thing. `has_mark`: a byte order mark."""

    format: str
    layout: str
    encoding: str = ""
    has_mark: bool = False
    separator: str = ""

    def __str__(self) -> str:
        mark = " with a byte order mark" if self.has_mark else ""
        separator = f"fields separated by {self.separator}" if self.separator else ""
        encoding = f"{self.encoding}{mark}" if self.encoding else ""
        return ", ".join(filter(None, (self.format, separator, encoding, f"layout {self.layout}")))


def describe(path: Path) -> Description:
    """Format, layout, encoding and separator of a file. Raises FileRefused."""
    kind, layout = _kind(path), _layout(path).name
    if kind == "Parquet":
        return Description(kind, layout)
    if kind == "XML":
        return Description(kind, layout, *xml_encoding(path))
    encoding = encoding_of(path)
    separator = delimited_header(path)[1] if kind == "CSV" else ""
    name = _SEPARATORS.get(separator, repr(separator)) if separator else ""
    return Description(kind, layout, encoding.name, encoding.has_mark, name)


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of products in their order. Raises FileRefused if the file is missing, damaged or of an unknown kind."""
    _kind(path)
    return _layout(path).rows(lambda: _raw_rows(path))


def column_names(path: Path) -> list[str] | None:
    """The names of the columns, with those that the layout adds; None for JSON and XML, where each row has names of its
    own.
    """
    header = _header(path)
    return None if header is None else list(dict.fromkeys([*header, *_layout(path).derived]))


def columns_of_layout(path: Path) -> Sequence[str]:
    """The columns of the file that its layout reads."""
    layout = _layout(path)
    return [column for column in _header(path) or _sampled(path) if layout.uses(column)]


def _kind(path: Path) -> str:
    if not path.is_file():
        raise FileRefused(f"{path} is not a file")
    name = path.name.lower().removesuffix(".gz")
    for kind, endings in (("Parquet", _PARQUET), ("JSON", _JSON), ("CSV", _DELIMITED), ("XML", _XML)):
        if name.endswith(endings):
            return kind
    raise FileRefused(
        f"{path.name}: unknown kind of file; its name must end in .csv, .tsv, .txt, .jsonl, .json, .xml or .parquet, "
        "with or without .gz"
    )


def _raw_rows(path: Path) -> Iterator[Row]:
    readers = {"Parquet": parquet_rows, "JSON": json_rows, "CSV": delimited_rows, "XML": xml_rows}
    return readers[_kind(path)](path)


def _header(path: Path) -> list[str] | None:
    kind = _kind(path)
    if kind == "Parquet":
        return parquet_header(path)
    return delimited_header(path)[0] if kind == "CSV" else None


def _layout(path: Path) -> Layout:
    """JSON has no layout of a shop system: its keys are the fields."""
    return PLAIN if _kind(path) == "JSON" else layout_of(_header(path) or _sampled(path))


def _sampled(path: Path) -> list[str]:
    """The names in the first rows of a file without a header."""
    return list(dict.fromkeys(name for row in islice(_raw_rows(path), _SAMPLE) for name in row.values))
