"""Opens the files of a shop, plain or .gz, with a bound on what they may take."""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

# Characters of one line of text, and of one object of JSON. The largest valid product has about 4 million.
MAX_ROW = 8 << 20
# A .gz file may unpack to so many bytes, or to so many times its size if that is more. Catalogues shrink to a tenth.
_MAX_UNPACKED = 256 << 20
_MAX_RATIO = 100


_SURROGATE = re.compile("[\ud800-\udfff]")


class FileRefused(Exception):
    """The file cannot be read, or cannot be read further. The message names the file and the remedy."""


class RowRefused(Exception):
    """The row cannot be imported: `field` is wrong for `reason`."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


@dataclass(frozen=True)
class Row:
    """`problem` describes what is wrong with the row, and `values` is then empty. `raw` is the row as text.

    `is_hidden`: the shop does not show the product, for example because it is a draft.
    """

    line: int
    values: dict[str, Any]
    problem: str = ""
    raw: str = ""
    is_hidden: bool = False


@contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """The file, unpacked. Raises FileRefused for damage, also while it is read, and for a file that grows too large."""
    try:
        with path.open("rb") as file:
            if path.suffix.lower() != ".gz":
                yield file
                return
            limit = max(_MAX_UNPACKED, _MAX_RATIO * path.stat().st_size)
            yield io.BufferedReader(_Unpacked(path.name, gzip.GzipFile(fileobj=file), limit))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileRefused(f"{path.name} is damaged or not a gzip file: {error}") from None


def numbered_lines(text: TextIO) -> Iterator[tuple[int, str | None]]:
    """(number from 1, line with its end). A line of more than MAX_ROW characters is None: it is passed over."""
    number = 0
    while line := text.readline(MAX_ROW + 1):
        number += 1
        if len(line) <= MAX_ROW:
            yield number, line
            continue
        while not line.endswith(("\n", "\r")) and (line := text.readline(1 << 16)):
            pass
        yield number, None


def has_bad_bytes(text: str) -> bool:
    """Whether the text holds surrogates: bytes that are not UTF-8, or half a character of JSON."""
    return _SURROGATE.search(text) is not None


class _Unpacked(io.RawIOBase):
    """A stream that may give only so many bytes."""

    def __init__(self, name: str, file: gzip.GzipFile, limit: int) -> None:
        self._name, self._file, self._limit, self._left = name, file, limit, limit

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._left -= count
        if self._left < 0:
            raise FileRefused(
                f"{self._name} unpacks to more than {self._limit >> 20} MiB, over {_MAX_RATIO} times its size; unpack "
                "it and import the plain file if that is right"
            )
        return count
