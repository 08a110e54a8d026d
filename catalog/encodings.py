"""Finds the encoding of a text file: UTF-8, UTF-16 or Windows-1252, with or without a byte order mark."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, TextIO

from catalog.files import FileRefused, open_bytes

_CHUNK = 1 << 16
_SURROGATES = re.compile("[\udc80-\udcff]")
_BEYOND_ASCII = re.compile("[^\x00-\x7f]")
# Bytes without a meaning in Windows-1252, and stretches of bytes that European words do not have: those are of Chinese,
# Cyrillic or other text in an encoding that is not known.
_NO_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_STRETCH = re.compile(rb"[\x80-\xff]{4,}")
_HIGH = bytes(range(128, 256))


@dataclass(frozen=True)
class Encoding:
    """`codec`: of Python's codecs. `name`: as people write it. `has_mark`: a byte order mark begins the file."""

    codec: str
    name: str
    has_mark: bool = False

    @property
    def errors(self) -> str:
        """How bytes of another encoding are read. In UTF-8 as surrogates, so that one bad line does not end the
        reading.
        """
        return "surrogateescape" if self.codec.startswith("utf-8") else "replace"


def encoding_of(path: Path) -> Encoding:
    """The encoding of the whole file: all of it is read once. Raises FileRefused for what is no text."""
    state = path.stat()
    return _encoding_of(path, state.st_size, state.st_mtime_ns)


@contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """The text of the file, in the encoding that it has."""
    encoding = encoding_of(path)
    with open_bytes(path) as file:
        yield io.TextIOWrapper(file, encoding.codec, encoding.errors, newline)


@lru_cache(maxsize=16)
def _encoding_of(path: Path, size: int, changed_ns: int) -> Encoding:
    with open_bytes(path) as file:
        start = file.read(1_024)
        if start.startswith(codecs.BOM_UTF8):
            return Encoding("utf-8-sig", "UTF-8", has_mark=True)
        if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return Encoding("utf-16", "UTF-16", has_mark=True)
        if start.count(0) > len(start) // 4:
            return _without_mark(path, start)
        if _is_utf8(start, file):
            return Encoding("utf-8", "UTF-8")
    with open_bytes(path) as file:
        return Encoding("cp1252", "Windows-1252") if _is_1252(file) else Encoding("utf-8", "UTF-8")


def _without_mark(path: Path, start: bytes) -> Encoding:
    """UTF-16 of mostly Latin letters has its zeros on one side of each pair."""
    first, second = start[::2].count(0), start[1::2].count(0)
    if len(start) >= 4 and min(first, second) * 8 <= max(first, second):
        return Encoding("utf-16-le" if second > first else "utf-16-be", "UTF-16")
    raise FileRefused(f"{path.name} is not text in UTF-8, UTF-16 or Windows-1252; save it as UTF-8")


def _is_utf8(start: bytes, file: IO[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(start)
        while chunk := file.read(_CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _is_1252(file: IO[bytes]) -> bool:
    """Whether a file that is not UTF-8 as a whole is Windows-1252. Otherwise some of its lines are damaged: bytes that
    are characters of UTF-8 by chance are rare.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    bad = good = high = stretched = 0
    while chunk := file.read(_CHUNK):
        text = decoder.decode(chunk)
        wrong = len(text) - len(_SURROGATES.sub("", text))
        bad += wrong
        good += len(text) - len(_BEYOND_ASCII.sub("", text)) - wrong
        high += len(chunk) - len(chunk.translate(None, _HIGH))
        stretched += sum(map(len, _STRETCH.findall(chunk)))
        if _NO_1252.search(chunk):
            return False
    return good * 10 <= bad and stretched * 2 < high
