"""Parquet files of audit entries: types, bound, failures."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from services.control.adapters.parquet_archive import ArchivedColumns, ParquetArchive
from services.control.domain.audit import Entry, EntryKind
from services.control.ports import ArchiveFailed

QUOTE = EntryKind.PRICE_QUOTE
COLUMNS = {
    QUOTE: ArchivedColumns(
        {"tenant": "text", "id": "text", "at": "time", "amount": "amount", "number": "integer", "path": "texts"},
        lambda tenant, entry: (tenant, entry.id, entry.recorded_us, Decimal("9.5"), None, ["a", "b"]),
    )
}


def entries(count: int) -> Iterator[tuple[str, Entry]]:
    return (("shop", Entry(QUOTE, f"q{number}", number, "", "", b"")) for number in range(count))


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_rows_have_types(tmp_path: Path, scheme: str) -> None:
    """In a folder and at a URL: each entry is a row, in order, and values keep their types; no draft is left."""
    ParquetArchive(f"{scheme}{tmp_path / 'archive'}", COLUMNS).write("2026-12-01T15-ab", QUOTE, entries(3), 3)
    (file,) = (tmp_path / "archive").iterdir()
    assert file.name == "2026-12-01T15-ab-price_quote.parquet"
    table = pq.read_table(file)
    assert [str(type) for type in table.schema.types] == [
        "string", "string", "timestamp[us, tz=UTC]", "decimal128(28, 9)", "int64", "list<element: string>",
    ]  # fmt: skip
    assert table.num_rows == 3
    assert table.to_pylist()[1] == {
        "tenant": "shop", "id": "q1", "at": datetime.fromtimestamp(1e-6, UTC), "amount": Decimal("9.5"),
        "number": None, "path": ["a", "b"],
    }  # fmt: skip


def test_many_rows_are_written_in_groups(tmp_path: Path) -> None:
    """A file of more rows than one group has them all."""
    ParquetArchive(str(tmp_path), COLUMNS).write("hour", QUOTE, entries(45_000), 45_000)
    (file,) = tmp_path.iterdir()
    assert pq.read_metadata(file).num_row_groups == 3
    assert pq.read_table(file, columns=["id"])["id"].to_pylist() == [f"q{number}" for number in range(45_000)]


def test_a_repeated_write_replaces_the_file(tmp_path: Path) -> None:
    """A turn that died before it was done writes the same file again."""
    archive = ParquetArchive(str(tmp_path), COLUMNS)
    (tmp_path / "hour-price_quote.parquet.draft").write_bytes(b"half of a file")
    for _ in range(2):
        archive.write("hour", QUOTE, entries(3), 3)
    (file,) = tmp_path.iterdir()
    assert pq.read_metadata(file).num_rows == 3


def test_a_file_with_too_few_rows_is_no_archive(tmp_path: Path) -> None:
    """If a file has not all entries, the archive fails, and nobody reads the file."""
    with pytest.raises(ArchiveFailed, match="3 entries instead of 4"):
        ParquetArchive(str(tmp_path), COLUMNS).write("hour", QUOTE, entries(3), 4)
    assert not list(tmp_path.glob("*.parquet"))


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "archive").write_text("a file")
    with pytest.raises(OSError, match="archive"):
        ParquetArchive(str(tmp_path / "archive"), COLUMNS).write("hour", QUOTE, entries(3), 3)


def test_a_folder_has_a_bound(tmp_path: Path) -> None:
    """Beyond its bytes the oldest files go; without a bound, and at a URL, all files stay."""
    archive = ParquetArchive(str(tmp_path), COLUMNS, most_bytes=1)
    for hour in ("2026-12-01T09", "2026-12-01T10", "2026-12-01T08"):
        archive.write(f"{hour}-ab", QUOTE, entries(3), 3)
    size = archive.local_bytes()
    for unbounded in (str(tmp_path), f"file://{tmp_path}"):
        ParquetArchive(unbounded, COLUMNS).keep_within_bound()
    assert archive.local_bytes() == size
    ParquetArchive(str(tmp_path), COLUMNS, most_bytes=size - 1).keep_within_bound()
    assert sorted(path.name[:13] for path in tmp_path.iterdir()) == ["2026-12-01T09", "2026-12-01T10"]
    assert ParquetArchive(f"file://{tmp_path}", COLUMNS).local_bytes() == 0


def test_a_wrong_address_is_an_error(tmp_path: Path) -> None:
    """A URL of no known kind fails with its reason."""
    with pytest.raises(pa.ArrowInvalid, match="magnetic"):
        ParquetArchive("magnetic://tape", COLUMNS).write("hour", QUOTE, entries(3), 3)
