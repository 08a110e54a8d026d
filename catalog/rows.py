"""Rows of a file, one at a time, with the line they stand on: CSV, TSV, JSON lines and Parquet, each plain or .gz."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

csv.field_size_limit(1 << 24)


class FileRefused(Exception):
    """The file as a whole cannot be read; nothing was sent."""


@dataclass(frozen=True)
class Row:
    """`problem` says what is wrong with the line; `values` is empty then."""

    line: int
    values: dict[str, Any]
    problem: str = ""
    raw: str = ""


def read_rows(path: Path) -> Iterator[Row]:
    """Raises FileRefused for a file that is not there, of a kind that is not known, or damaged."""
    if not path.is_file():
        raise FileRefused(f"{path} is not a file")
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        return _parquet_rows(path)
    if name.endswith((".jsonl", ".ndjson", ".json")):
        return _json_rows(path)
    if name.endswith((".csv", ".tsv")):
        return _csv_rows(path, "\t" if name.endswith(".tsv") else ",")
    raise FileRefused(
        f"{path.name}: its kind is not known; name it .csv, .tsv, .jsonl or .parquet, with or without .gz"
    )


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """The bytes, unpacked. What turns out on the way to be damaged becomes FileRefused."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileRefused(f"{path.name} is no whole gzip file: {error}") from None


def column_names(path: Path) -> list[str] | None:
    """The header of a CSV, TSV or Parquet file; None for JSON lines, where each row has its own."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        with _open(path) as file:
            return [str(column) for column in _parquet(path, file).schema_arrow.names]
    if name.endswith((".csv", ".tsv")):
        with _open(path) as file:
            text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
            try:
                return next(csv.reader(text, delimiter="\t" if name.endswith(".tsv") else ","), [])
            except (UnicodeDecodeError, csv.Error) as error:
                raise FileRefused(f"{path.name}: its first line is no header in UTF-8: {error}") from None
    return None


def _csv_rows(path: Path, delimiter: str) -> Iterator[Row]:
    """Bytes that are not UTF-8 come through as surrogates, so that one bad line does not end the file."""
    with _open(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text, delimiter=delimiter)
        header = next(reader, [])
        while True:
            line = reader.line_num + 1
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(line, {}, f"is no CSV: {error}")
                continue
            if not fields:  # a blank line
                continue
            raw = delimiter.join(fields)
            if _has_bad_bytes(raw):
                yield Row(line, {}, "is not UTF-8", raw.encode("utf-8", "replace").decode())
            elif len(fields) != len(header):
                yield Row(line, {}, f"has {len(fields)} fields, the header has {len(header)}", raw)
            else:
                yield Row(line, dict(zip(header, fields, strict=True)), raw=raw)


def _json_rows(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        for line, data in enumerate(file, start=1):
            if not data.strip():
                continue
            raw = data.decode("utf-8", "replace").rstrip("\n")
            try:
                values = json.loads(data.decode("utf-8"))
            except UnicodeDecodeError:
                yield Row(line, {}, "is not UTF-8", raw)
            except (ValueError, RecursionError) as error:  # numbers without end, brackets without end
                yield Row(line, {}, f"is no JSON: {error}", raw)
            else:
                problem = ""
                if not isinstance(values, dict):
                    problem = "is no JSON object"
                elif "\\u" in raw and _has_bad_bytes(json.dumps(values, ensure_ascii=False)):
                    problem = "holds half a character (a lone surrogate)"
                yield Row(line, {} if problem else values, problem, raw)


def _parquet_rows(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        line = 0
        for batch in _parquet(path, file).iter_batches(2_000):
            for values in batch.to_pylist():
                line += 1
                yield Row(line, values, raw=json.dumps(values, default=str, ensure_ascii=False))


def _parquet(path: Path, file: BinaryIO) -> Any:
    # Imported here: whoever reads CSV does not wait for Arrow.
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(io.BytesIO(file.read()))
    except pyarrow.ArrowInvalid as error:
        raise FileRefused(f"{path.name} is no Parquet file: {error}") from None


def _has_bad_bytes(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else False
