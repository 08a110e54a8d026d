"""Archived audit entries as Parquet files, in a folder or in an object store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import structlog

from services.control.domain.audit import Entry, EntryKind
from services.control.ports import ArchiveFailed

# Rows of one row group: some 6 MB in memory.
_ROWS = 20_000
_ENDING = ".parquet"

_log = structlog.get_logger("kairos.control.archive")


@dataclass(frozen=True)
class ArchivedColumns:
    """The columns of a kind: name and type, and the values of an entry of a tenant. Types: text, texts, integer,
    number, amount (a Decimal with at most nine decimal places), time (microseconds since the epoch). Each value may be
    None.
    """

    types: Mapping[str, str]
    values: Callable[[str, Entry], Sequence[Any]]


class ParquetArchive:
    """See ports.EntryArchive. `place`: a folder of this machine, or a URL that pyarrow knows: s3://bucket/audit.

    In a folder, at most `most_bytes` are kept if it is set; the oldest files are removed beyond it.
    """

    def __init__(
        self, place: str, columns: Mapping[EntryKind, ArchivedColumns], most_bytes: int | None = None
    ) -> None:  # fmt: skip
        self._place, self._columns, self._most_bytes = place, columns, most_bytes

    def write(self, name: str, kind: EntryKind, entries: Iterable[tuple[str, Entry]], count: int) -> None:
        # Imported here: pyarrow takes 60 MB of memory, which a process that archives nothing does not need.
        import pyarrow as pa
        import pyarrow.parquet as pq

        types = {
            "text": pa.string(),
            "texts": pa.list_(pa.string()),
            "integer": pa.int64(),
            "number": pa.float64(),
            "amount": pa.decimal128(28, 9),
            "time": pa.timestamp("us", "UTC"),
        }
        columns = self._columns[kind]
        schema = pa.schema([(column, types[type]) for column, type in columns.types.items()])
        store, folder = self._found()
        store.create_dir(folder)
        # The hour comes first: files sort by age.
        path = f"{folder}/{name}-{kind.value}{_ENDING}"
        # A draft has another ending: nobody reads half of a file.
        draft = f"{path}.draft"
        with pq.ParquetWriter(draft, schema, filesystem=store, compression="zstd") as writer:
            for some in _batches(entries):
                rows = zip(*(columns.values(tenant, entry) for tenant, entry in some), strict=True)
                arrays = [pa.array(values, field.type) for values, field in zip(rows, schema, strict=True)]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
        written = pq.read_metadata(draft, filesystem=store).num_rows
        if written != count:
            raise ArchiveFailed(f"{draft} has {written} entries instead of {count}; the database keeps them")
        self._sync(draft)
        store.move(draft, path)
        self._sync(folder)

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
                "the archive of the audit is full and its oldest file was removed: name an object store in "
                "KAIROS_CONTROL_AUDIT__ARCHIVE_URL, or raise KAIROS_CONTROL_AUDIT__ARCHIVE_MIB", file=path.name,
            )  # fmt: skip

    def local_bytes(self) -> int:
        return sum(path.stat().st_size for path in self._local_files())

    def _is_remote(self) -> bool:
        return "://" in self._place

    def _local_files(self) -> list[Path]:
        """Oldest first; none of an object store."""
        return [] if self._is_remote() else sorted(Path(self._place).glob(f"*{_ENDING}"))

    def _found(self) -> tuple[Any, str]:
        from pyarrow.fs import FileSystem

        store, path = FileSystem.from_uri(self._place if self._is_remote() else str(Path(self._place).resolve()))
        return store, path.rstrip("/")

    def _sync(self, path: str) -> None:
        """A file or folder of this machine is on the disk when it returns. An object store does this by itself."""
        if self._is_remote():
            return
        opened = os.open(path, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def _batches(entries: Iterable[tuple[str, Entry]]) -> Iterator[list[tuple[str, Entry]]]:
    rest = iter(entries)
    while batch := list(islice(rest, _ROWS)):
        yield batch
