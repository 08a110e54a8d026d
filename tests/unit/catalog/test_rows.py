"""Rows of every kind of file with their line numbers; a bad line does not end the reading."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.rows import FileRefused, column_names, read_rows

PRODUCTS = [
    {"id": "1", "title": "Trail shoe, red", "price": "99.90"},
    {"id": "2", "title": "跑步鞋", "price": "450"},
    {"id": "3", "title": 'A "quoted"\nsecond line', "price": ""},
]


def written(folder: Path, name: str, rows: Sequence[dict[str, str]] = tuple(PRODUCTS)) -> Path:
    kind = name.removesuffix(".gz").rpartition(".")[2]
    if kind == "parquet":
        table = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), table)
        data = table.getvalue()
    elif kind == "jsonl":
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if kind == "tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
        data = text.getvalue().encode()
    return put(folder, name, data)


def put(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_one_catalogue_in_any_kind(tmp_path: Path, kind: str, packed: str) -> None:
    """The same products have the same rows in CSV, TSV, JSON lines and Parquet, plain and compressed."""
    rows = list(read_rows(written(tmp_path, f"products.{kind}{packed}")))
    assert [row.values for row in rows] == PRODUCTS
    assert not any(row.problem for row in rows)


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_the_header(tmp_path: Path, kind: str, packed: str) -> None:
    """The column names can be read before the rows."""
    assert column_names(written(tmp_path, f"products.{kind}{packed}")) == ["id", "title", "price"]


def test_json_lines_have_no_header(tmp_path: Path) -> None:
    """JSON lines have no header: each line names its fields."""
    assert column_names(written(tmp_path, "products.jsonl")) is None


def test_lines_as_an_editor_counts_them(tmp_path: Path) -> None:
    """The line of a row is the one where it begins, also after a field of several lines."""
    path = put(tmp_path, "p.csv", b'id,title\n1,"two\nlines"\n2,x\n\n3,y\n')
    assert [(row.line, row.values["id"]) for row in read_rows(path)] == [(2, "1"), (4, "2"), (6, "3")]
    path = put(tmp_path, "p.jsonl", b'{"id": 1}\n\n{"id": 2}\n')
    assert [(row.line, row.values["id"]) for row in read_rows(path)] == [(1, 1), (3, 2)]


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """The byte order mark that Excel writes is not part of the first column's name."""
    path = put(tmp_path, "p.csv", "﻿id,title\n1,x\n".encode())
    assert column_names(path) == ["id", "title"]
    assert [row.values for row in read_rows(path)] == [{"id": "1", "title": "x"}]


def test_wrong_number_of_fields(tmp_path: Path) -> None:
    """A row with too few or too many fields has a problem and its text."""
    path = put(tmp_path, "p.csv", b"id,title\n1\n2,x,y\n3,z\n")
    problems = [(row.line, row.problem, row.raw) for row in read_rows(path) if row.problem]
    assert problems == [
        (2, "has 1 fields, but the header has 2", "1"),
        (3, "has 3 fields, but the header has 2", "2,x,y"),
    ]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.csv", b"id,title\n1,gr\xfc\xdfe\n2,good\n"),
        ("p.jsonl", b'{"id": "1", "title": "gr\xfc\xdfe"}\n{"id": "2"}\n'),
    ],
)
def test_text_that_is_not_utf8(tmp_path: Path, name: str, data: bytes) -> None:
    """A line in another encoding has a problem and a text that can be written; the next line is read."""
    bad, good = read_rows(put(tmp_path, name, data))
    assert (bad.problem, bad.values) == ("is not UTF-8; save the file as UTF-8", {})
    assert bad.raw.encode()
    assert good.values["id"] == "2"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"id": ', "is not JSON"),
        (b"[1, 2]", "is not a JSON object"),
        (b'"text"', "is not a JSON object"),
        (b'{"title": "\\ud83d"}', "an incomplete character"),
        (b'{"id": ' + b"9" * 5_000 + b"}", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
    ],
    ids=["cut", "list", "text", "surrogate", "long number", "deep"],
)
def test_a_bad_line_of_json(tmp_path: Path, line: bytes, problem: str) -> None:
    """A line that is not a JSON object has a problem; the next line is read."""
    _, bad, good = read_rows(put(tmp_path, "p.jsonl", b'{"id": "1"}\n' + line + b'\n{"id": "2"}\n'))
    assert problem in bad.problem
    assert good.values == {"id": "2"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("p.csv.gz", b"id,title\n1,x\n"),
        ("p.csv.gz", gzip.compress(b"id,title\n" + b"1,x\n" * 10_000)[:-20]),
        ("p.jsonl.gz", gzip.compress(b'{"id": "1"}\n' * 10_000)[:-20]),
        ("p.parquet", b"PAR1 and nothing more"),
        ("p.parquet.gz", gzip.compress(b"no parquet")),
        ("p.txt", b"id,title\n"),
    ],
    ids=["not packed", "cut CSV", "cut JSON", "no Parquet", "no Parquet packed", "unknown kind"],
)
def test_a_damaged_file(tmp_path: Path, name: str, data: bytes) -> None:
    """A truncated file, and one of another kind than its name, is refused with its name."""
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(FileRefused, match=name):
        list(read_rows(path))


def test_a_header_in_another_encoding(tmp_path: Path) -> None:
    """A file whose column names are not UTF-8 is refused."""
    with pytest.raises(FileRefused, match="not a header in UTF-8"):
        column_names(put(tmp_path, "p.csv", b"id,gr\xf6\xdfe\n1,2\n"))


def test_no_file(tmp_path: Path) -> None:
    """A missing file is refused."""
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(FileRefused, match="is not a file"):
            read_rows(path)


def test_an_empty_file(tmp_path: Path) -> None:
    """An empty file has no columns and no rows."""
    path = put(tmp_path, "p.csv", b"")
    assert (column_names(path), list(read_rows(path))) == ([], [])


@given(st.sampled_from(["p.csv", "p.tsv", "p.jsonl", "p.parquet", "p.csv.gz"]), st.binary(max_size=200))
def test_any_bytes(name: str, data: bytes) -> None:
    """Any file is either read row by row or refused, and each problem can be written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            for row in read_rows(path):
                assert f"{row.problem}{row.raw}".encode()
        except FileRefused:
            pass
