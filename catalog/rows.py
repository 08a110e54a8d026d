"""Reads the rows of a file with their line numbers: CSV, TSV, JSON and Parquet, each plain or .gz."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from catalog.delimited import delimited_header, delimited_rows
from catalog.files import FileRefused as FileRefused
from catalog.files import Row as Row
from catalog.files import RowRefused as RowRefused
from catalog.files import open_bytes
from catalog.json_rows import json_rows

# Arrow's own errors are of these types: ArrowInvalid is a ValueError, ArrowNotImplementedError a RuntimeError.
_PARQUET_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, OverflowError, MemoryError)
_PARQUET, _JSON, _DELIMITED = (".parquet",), (".jsonl", ".ndjson", ".json"), (".csv", ".tsv")


def read_rows(path: Path) -> Iterator[Row]:
    """The rows in their order. Raises FileRefused if the file is missing, damaged or of an unknown kind."""
    if not path.is_file():
        raise FileRefused(f"{path} is not a file")
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_PARQUET):
        return _parquet_rows(path)
    if name.endswith(_JSON):
        return json_rows(path)
    if name.endswith(_DELIMITED):
        return delimited_rows(path)
    raise FileRefused(
        f"{path.name}: unknown kind of file; its name must end in .csv, .tsv, .jsonl, .json or .parquet, with or "
        "without .gz"
    )


def column_names(path: Path) -> list[str] | None:
    """The column names of a CSV, TSV or Parquet file; None for JSON, where each row has names of its own."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_PARQUET):
        with open_bytes(path) as file, _parquet(path, file) as table:
            return [str(column) for column in table.schema_arrow.names]
    return delimited_header(path) if name.endswith(_DELIMITED) else None


def _parquet_rows(path: Path) -> Iterator[Row]:
    with open_bytes(path) as file, _parquet(path, file) as table:
        line = 0
        batches = table.iter_batches(500)
        while True:
            try:
                rows = next(batches).to_pylist()
            except StopIteration:
                return
            except _PARQUET_ERRORS as error:
                raise FileRefused(f"{path.name} is damaged after row {line}: {error}") from None
            for values in rows:
                line += 1
                yield Row(line, values, raw=json.dumps(values, default=str, ensure_ascii=False))


def _parquet(path: Path, file: io.BufferedReader) -> Any:
    # Imported here: reading CSV does not need Arrow.
    import pyarrow.parquet

    source: IO[bytes] = file
    if path.suffix.lower() == ".gz":  # Parquet is read from its end
        source = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the reader
        shutil.copyfileobj(file, source)
    try:
        return pyarrow.parquet.ParquetFile(source)
    except _PARQUET_ERRORS as error:
        raise FileRefused(f"{path.name} is not a Parquet file: {error}") from None
