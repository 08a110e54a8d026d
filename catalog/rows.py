"""Reads the rows of a file with their line numbers: CSV, TSV, JSON lines and Parquet, each plain or .gz."""

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
    """The file cannot be read at all."""


@dataclass(frozen=True)
class Row:
    """`problem` describes what is wrong with the row, and `values` is then empty. `raw` is the row as text."""

    line: int
    values: dict[str, Any]
    problem: str = ""
    raw: str = ""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows in their order. Raises FileRefused if the file is missing, damaged or of an unknown kind."""
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
        f"{path.name}: unknown kind of file; its name must end in .csv, .tsv, .jsonl or .parquet, with or without .gz"
    )


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    """The file, decompressed. Damage that is found while reading is raised as FileRefused."""
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as file:
            yield file  # type: ignore[misc]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileRefused(f"{path.name} is damaged or not a gzip file: {error}") from None


def column_names(path: Path) -> list[str] | None:
    """The column names of a CSV, TSV or Parquet file; None for JSON lines, where each row has names of its own."""
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
                raise FileRefused(f"{path.name}: its first line is not a header in UTF-8: {error}") from None
    return None


def _csv_rows(path: Path, delimiter: str) -> Iterator[Row]:
    """Bytes that are not UTF-8 are read as surrogates, so that one bad line does not end the reading."""
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
                yield Row(line, {}, f"is not CSV: {error}")
                continue
            if not fields:  # a blank line
                continue
            raw = delimiter.join(fields)
            if _has_bad_bytes(raw):
                yield Row(line, {}, "is not UTF-8", raw.encode("utf-8", "replace").decode())
            elif len(fields) != len(header):
                yield Row(line, {}, f"has {len(fields)} fields, but the header has {len(header)}", raw)
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
            except (ValueError, RecursionError) as error:  # too long a number, too deep a nesting
                yield Row(line, {}, f"is not JSON: {error}", raw)
            else:
                problem = ""
                if not isinstance(values, dict):
                    problem = "is not a JSON object"
                elif "\\u" in raw and _has_bad_bytes(json.dumps(values, ensure_ascii=False)):
                    problem = "has an incomplete character (a lone surrogate)"
                yield Row(line, {} if problem else values, problem, raw)


def _parquet_rows(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        line = 0
        for batch in _parquet(path, file).iter_batches(2_000):
            for values in batch.to_pylist():
                line += 1
                yield Row(line, values, raw=json.dumps(values, default=str, ensure_ascii=False))


def _parquet(path: Path, file: BinaryIO) -> Any:
    # Imported here: reading CSV does not need Arrow.
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(io.BytesIO(file.read()))
    except pyarrow.ArrowInvalid as error:
        raise FileRefused(f"{path.name} is not a Parquet file: {error}") from None


def _has_bad_bytes(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else False
