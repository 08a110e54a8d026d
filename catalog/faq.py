"""Reads the entries of a FAQ from CSV, JSON lines or Markdown, each with its line.

CSV and JSON have the fields of FaqEntry (faq.proto). In a cell of CSV, entries of a list are separated by "|". Without
an id, an entry gets one of its question. Markdown has a heading for each question:

    ## How can I return an item? {#returns}
    also: return policy | can I send it back
    products: p1, p2
    categories: Shoes > Running Shoes | Shoes > Boots
    locale: en
    valid: 2026-12-01 to 2027-01-31

    The answer, up to the next heading of this level.

All lines of the list are optional, and so is the id in braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from catalog.dates import parse_time
from catalog.delimited import delimited_rows
from catalog.encodings import open_text
from catalog.files import FileRefused, Row, RowRefused
from catalog.json_rows import json_rows
from kairos.common.v1 import faq_pb2
from services.common.convert_faq import faq_entry_from_proto
from services.common.faq import violations
from services.common.limits import MAX_ID

_LISTS = ("alternative_questions", "product_ids", "categories")
_TIMES = ("valid_from", "valid_until")
_FIELDS = ("id", "question", "answer", "locale", *_LISTS, *_TIMES)
# What an import ignores: it is in what `kairos faq list --json` prints.
_IGNORED = ("version",)
_SEPARATOR = "|"
_HEADING = re.compile(r"##\s+(?P<question>.+?)\s*(?:\{#(?P<id>[^}]+)\}\s*)?")
_KEYS = {"also": "alternative_questions", "products": "product_ids", "categories": "categories", "locale": "locale"}
_KEY = re.compile(rf"(?P<key>{'|'.join((*_KEYS, 'valid'))}):\s*(?P<value>.*)", re.IGNORECASE)
_NO_LETTER = re.compile(r"[^\w]+")
# Characters of a line of Markdown.
_MAX_LINE = 64_000


@dataclass(frozen=True)
class ReadEntry:
    """`problem`: the field and what is wrong with it; the entry is then as far as it was read."""

    line: int
    entry: faq_pb2.FaqEntry
    problem: tuple[str, str] | None = None
    raw: str = ""


def read_faq(path: Path) -> Iterator[ReadEntry]:
    """Raises FileRefused if the file is missing, damaged or of an unknown kind."""
    for row in _rows(path):
        yield _read(row)


def _rows(path: Path) -> Iterator[Row]:
    kinds = {".csv": delimited_rows, ".tsv": delimited_rows, ".jsonl": json_rows, ".json": json_rows, ".md": _sections}
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in kinds:
        raise FileRefused(f"{path.name} is not named .csv, .tsv, .jsonl, .json or .md; rename or convert it")
    if not path.is_file():
        raise FileRefused(f"{path} is no file; give the path of a FAQ")
    yield from kinds[suffix](path)


def _read(row: Row) -> ReadEntry:
    entry = faq_pb2.FaqEntry()
    if row.problem:
        return ReadEntry(row.line, entry, ("", row.problem), row.raw)
    try:
        _fill(entry, row.values)
    except RowRefused as error:
        return ReadEntry(row.line, entry, (error.field, error.reason), row.raw)
    entry.id = entry.id or _NO_LETTER.sub("-", entry.question.lower()).strip("-")[:MAX_ID]
    wrong = violations(faq_entry_from_proto(entry))
    return ReadEntry(row.line, entry, (wrong[0].field, wrong[0].description) if wrong else None, row.raw)


def _fill(entry: faq_pb2.FaqEntry, values: dict[str, Any]) -> None:
    for name, value in values.items():
        known = name.strip().lower()
        if known in _IGNORED or value in (None, "", []):
            continue
        if known not in _FIELDS:
            raise RowRefused(name, f"is no field of an entry; it has {', '.join(_FIELDS)}")
        if known in _TIMES:
            getattr(entry, known).FromDatetime(parse_time(known, value))
        elif known in _LISTS:
            getattr(entry, known).extend(_texts(known, value))
        elif not isinstance(value, str):
            raise RowRefused(known, f"is {type(value).__name__}; write a text")
        else:
            setattr(entry, known, value.strip())


def _texts(name: str, value: Any) -> list[str]:
    if isinstance(value, str):
        value = value.split(_SEPARATOR)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise RowRefused(name, f'is no list of texts; write them in brackets, or separate them by "{_SEPARATOR}"')
    return [text.strip() for text in value if text.strip()]


@dataclass
class _Section:
    line: int
    values: dict[str, Any]
    answer: list[str] = field(default_factory=list)

    def row(self) -> Row:
        answer = "\n".join(self.answer).strip()
        return Row(self.line, {**self.values, "answer": answer}, raw=self.values["question"])

    def add(self, line: str) -> None:
        found = _KEY.fullmatch(line.strip()) if not any(self.answer) else None
        if found is None:
            self.answer.append(line.rstrip())
        elif found["key"].lower() == "valid":
            begins, _, ends = found["value"].partition(" to ")
            self.values |= {"valid_from": begins.strip(), "valid_until": ends.strip()}
        else:
            key = _KEYS[found["key"].lower()]
            value = found["value"].replace(",", _SEPARATOR) if key == "product_ids" else found["value"]
            self.values[key] = value


def _sections(path: Path) -> Iterator[Row]:
    section: _Section | None = None
    with open_text(path) as text:
        number = 0
        while line := text.readline(_MAX_LINE):
            number += 1
            heading = _HEADING.fullmatch(line.rstrip("\r\n"))
            if heading is not None:
                if section is not None:
                    yield section.row()
                section = _Section(number, {"question": heading["question"], "id": heading["id"] or ""})
            elif section is not None:
                section.add(line)
    if section is not None:
        yield section.row()
