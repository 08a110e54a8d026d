"""Closed partitions of the audit log as Parquet files, in a folder or in an object store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import structlog

# Rows of one row group: some 6 MB in memory.
_ROWS = 20_000
_ENDING = ".parquet"

_log = structlog.get_logger("kairos.pricing")


class ArchiveFailed(Exception):
    """The archive does not have what was written to it; the log keeps the partition."""


class ParquetArchive:
    """`place`: a folder of this machine, or a URL that pyarrow knows, for example s3://bucket/audit.

    In a folder, at most `most_bytes` are kept if it is set; the oldest files are removed beyond it.
    """

    def __init__(self, place: str, most_bytes: int | None = None) -> None:
        self._place, self._most_bytes = place, most_bytes

    def write(
        self, name: str, opened_s: float, columns: Sequence[str], rows: Iterable[tuple[str | None, ...]], count: int
    ) -> None:
        """Writes a file of `count` rows, and reads its size back. Raises ArchiveFailed, and OSError.

        The same partition always gets the same name: after a crash it is written again.
        """
        # Imported here: pyarrow takes 60 MB of memory, which a process that archives nothing does not need.
        import pyarrow as pa
        import pyarrow.parquet as pq
        from pyarrow.fs import FileType

        store, folder = self._found()
        store.create_dir(folder)
        path = f"{folder}/quotes-{datetime.fromtimestamp(opened_s, UTC):%Y-%m-%dT%H%M%S}-{name}{_ENDING}"
        # A draft has another ending: nobody reads half of a file.
        draft = f"{path}.draft"
        schema = pa.schema([(column, pa.string()) for column in columns])
        with pq.ParquetWriter(draft, schema, filesystem=store, compression="zstd") as writer:
            for some in _batches(rows):
                table = zip(*some, strict=True)
                writer.write_table(pa.Table.from_arrays([pa.array(c, pa.string()) for c in table], schema=schema))
        store.move(draft, path)
        written = pq.read_metadata(path, filesystem=store).num_rows
        if written != count or store.get_file_info(path).type != FileType.File:
            raise ArchiveFailed(f"{path} has {written} quotes instead of {count}; the log keeps them")

    def keep_within_bound(self) -> None:
        if self._most_bytes is None:
            return
        files = self._local_files()
        over = sum(path.stat().st_size for path in files) - self._most_bytes
        for path in files:
            if over <= 0:
                break
            over -= path.stat().st_size
            path.unlink()
            _log.warning(
                "the archive of the audit log is full and its oldest file was removed: name an object store in "
                "KAIROS_PRICING_AUDIT__ARCHIVE_URL, or raise KAIROS_PRICING_AUDIT__ARCHIVE_MIB", file=path.name,
            )  # fmt: skip

    def local_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._local_files())

    def _local_files(self) -> list[Path]:
        """Oldest first; none of an object store."""
        return [] if "://" in self._place else sorted(Path(self._place).glob(f"*{_ENDING}"))

    def _found(self) -> tuple[Any, str]:
        from pyarrow.fs import FileSystem

        store, path = FileSystem.from_uri(self._place if "://" in self._place else str(Path(self._place).resolve()))
        return store, path.rstrip("/")


def _batches(rows: Iterable[tuple[str | None, ...]]) -> Iterator[list[tuple[str | None, ...]]]:
    rest = iter(rows)
    while batch := list(islice(rest, _ROWS)):
        yield batch
