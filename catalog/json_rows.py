"""Reads JSON: one object a line, or one array of objects on any number of lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from catalog.encodings import open_text
from catalog.files import MAX_ROW, FileRefused, Row, has_bad_bytes, numbered_lines

_CHUNK = 1 << 16
# What decides where an element of an array ends, outside and inside of a text.
_OUTSIDE = re.compile(r'[\[\]{},"]')
_INSIDE = re.compile(r'["\\]')
_TOO_LONG = f"has more than {MAX_ROW >> 20} million characters"
# The first line of an object on several lines.
_UNFINISHED = re.compile(r"\s*\{(?:.*[{\[,])?\s*")


def json_rows(path: Path) -> Iterator[Row]:
    """The objects in their order. Raises FileRefused for an object on several lines, and for an array that is cut
    off or goes on.
    """
    with open_text(path) as text:
        is_array = next(filter(None, (chunk.lstrip() for chunk in _chunks(text))), "").startswith("[")
    with open_text(path) as text:
        yield from _array(path, text) if is_array else _lines(path, text)


def _chunks(text: TextIO) -> Iterator[str]:
    while chunk := text.read(_CHUNK):
        yield chunk


def _lines(path: Path, text: TextIO) -> Iterator[Row]:
    is_first = True
    for line, raw in numbered_lines(text):
        if raw is None:
            yield Row(line, {}, _TOO_LONG)
        elif raw.strip():
            row = _row(line, raw.strip())
            if is_first and row.problem and _UNFINISHED.fullmatch(raw):
                raise FileRefused(
                    f"{path.name} is not JSON lines: the object on line {line} goes on in the next line; write one "
                    "object a line, or one array of objects"
                )
            is_first = False
            yield row


def _array(path: Path, text: TextIO) -> Iterator[Row]:
    """The elements of the array. Only one of them is in memory."""
    line = 1
    for number, (raw, size, is_last) in enumerate(_elements(path, text)):
        begins = line + raw[: len(raw) - len(raw.lstrip())].count("\n")
        if size > MAX_ROW:
            yield Row(begins, {}, _TOO_LONG)
        elif raw.strip():
            yield _row(begins, raw.strip())
        elif not is_last or number:
            yield Row(begins, {}, "is empty: there is a comma too many")
        line += raw.count("\n")


def _elements(path: Path, text: TextIO) -> Iterator[tuple[str, int, bool]]:
    """(text, characters, whether it is the last). Of an element that is too long, only the line ends are given."""
    parts: list[str] = []
    size, depth, in_text, escaped = 0, 0, False, False
    chunks = _chunks(text)
    for chunk in chunks:
        kept, position = 0, int(escaped)
        escaped = False
        while match := (_INSIDE if in_text else _OUTSIDE).search(chunk, position):
            mark, position = match[0], match.end()
            if mark == "\\":  # the next character is part of the text, also if it is in the next chunk
                escaped = position == len(chunk)
                position += 1
            elif mark == '"':
                in_text = not in_text
            elif mark in "[{":
                depth += 1
                if depth == 1:  # only lines of space are before the array
                    parts = ["\n" * ("".join(parts) + chunk[:position]).count("\n")]
                    size, kept = 0, position
            elif depth > 1 and mark in "]}":
                depth -= 1
            elif depth == 1:
                size += match.start() - kept
                yield "".join([*parts, chunk[kept : match.start()]]), size, mark != ","
                parts, size, kept = [], 0, position
                if mark != ",":
                    if chunk[position:].strip() or any(rest.strip() for rest in chunks):
                        raise FileRefused(f"{path.name}: there is text after the array; remove it")
                    return
        size += len(chunk) - kept
        parts.append(chunk[kept:])
        if size > MAX_ROW:
            parts = ["\n" * sum(part.count("\n") for part in parts)]
    raise FileRefused(f"{path.name} is cut off: the array does not end")


def _row(line: int, raw: str) -> Row:
    printable = raw.encode("utf-8", "replace").decode()
    if has_bad_bytes(raw):
        return Row(line, {}, "is not UTF-8; save the file as UTF-8", printable)
    try:
        values = json.loads(raw)
    except (ValueError, RecursionError) as error:  # too long a number, too deep a nesting
        return Row(line, {}, f"is not JSON: {error}", printable)
    if not isinstance(values, dict):
        return Row(line, {}, "is not a JSON object", printable)
    if "\\u" in raw and has_bad_bytes(json.dumps(values, ensure_ascii=False)):
        return Row(line, {}, "has an incomplete character (a lone surrogate)", printable)
    return Row(line, values, raw=printable)
