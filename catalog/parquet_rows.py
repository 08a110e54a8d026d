"""Reads Parquet in small batches: a file never is in memory as a whole."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from catalog.files import FileRefused, Row, open_bytes

# Arrow's own errors are of these types: ArrowInvalid is a ValueError, ArrowNotImplementedError a RuntimeError.
_ERRORS = (OSError, ValueError, RuntimeError, KeyError, TypeError, OverflowError, MemoryError)
_BATCH = 500


def parquet_header(path: Path) -> list[str]:
    """The column names. Raises FileRefused."""
    with open_bytes(path) as file, _table(path, file) as table:
        return [str(column) for column in table.schema_arrow.names]


def parquet_rows(path: Path) -> Iterator[Row]:
    with open_bytes(path) as file, _table(path, file) as table:
        line = 0
        batches = table.iter_batches(_BATCH)
        while True:
            try:
                rows = next(batches).to_pylist()
            except StopIteration:
                return
            except _ERRORS as error:
                raise FileRefused(f"{path.name} is damaged after row {line}: {error}") from None
            for values in rows:
                line += 1
                yield Row(line, values, raw=json.dumps(values, default=str, ensure_ascii=False))


def _table(path: Path, file: io.BufferedReader) -> Any:
    # Imported here: reading CSV does not need Arrow.
    import pyarrow.parquet

    source: IO[bytes] = file
    if path.suffix.lower() == ".gz":  # Parquet is read from its end
        source = tempfile.TemporaryFile()  # noqa: SIM115 - closed by the reader
        shutil.copyfileobj(file, source)
    try:
        return pyarrow.parquet.ParquetFile(source)
    except _ERRORS as error:
        raise FileRefused(f"{path.name} is not a Parquet file: {error}") from None
