"""Rows of every kind of file with their line numbers; a bad line does not end the reading."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.events import event_of
from catalog.files import MAX_ROW
from catalog.mapping import mapping_for, parse_mapping
from catalog.rows import FileRefused, RowRefused, column_names, describe, read_rows

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


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_a_line_in_another_encoding(tmp_path: Path, name: str) -> None:
    """In a file of UTF-8 a damaged line has a problem and a text that can be written; the others are read."""
    form = b"%s,%s\n" if name == "p.csv" else b'{"id": "%s", "title": "%s"}\n'
    lines = [form % (b"id", b"title")] if name == "p.csv" else []
    lines += [form % (b"1", "grüße".encode("cp1252")), form % (b"2", "马".encode())]
    bad, good = read_rows(put(tmp_path, name, b"".join(lines)))
    assert (bad.problem, bad.values) == ("is not UTF-8; save the file as UTF-8", {})
    assert bad.raw.encode()
    assert good.values["title"] == "马"


@pytest.mark.parametrize("packed", ["", ".gz"])
def test_windows_1252(tmp_path: Path, packed: str) -> None:
    """A file that is not UTF-8 is read as Windows-1252 if it has the words of a European language."""
    text = "id,größe\n1,Straße für Café – 5 €\n2,naïve\n"
    path = put(tmp_path, f"p.csv{packed}", text.encode("cp1252"))
    assert [row.values["größe"] for row in read_rows(path)] == ["Straße für Café – 5 €", "naïve"]
    assert str(describe(path)) == "CSV, fields separated by comma, Windows-1252, layout plain"


@pytest.mark.parametrize("encoding", ["gb18030", "cp1251", "shift_jis"])
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    """Text in an encoding that is not known is rejected row by row, and not read as other letters."""
    text = {"gb18030": "无线蓝牙耳机", "cp1251": "наушники", "shift_jis": "ワイヤレスイヤホン"}[encoding]
    path = put(tmp_path, "p.csv", f"id,title\n1,{text}\n2,plain\n".encode(encoding))
    assert [row.problem for row in read_rows(path)] == ["is not UTF-8; save the file as UTF-8", ""]


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
        ("p.doc", b"id,title\n"),
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
    """A file whose column names are in no known encoding is refused."""
    with pytest.raises(FileRefused, match="not a header in UTF-8"):
        column_names(put(tmp_path, "p.csv", "id,商品名称\n1,2\n".encode("gb18030")))


def test_no_file(tmp_path: Path) -> None:
    """A missing file is refused."""
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(FileRefused, match="is not a file"):
            read_rows(path)


def test_an_empty_file(tmp_path: Path) -> None:
    """An empty file, and one of blank lines, has no columns and no rows; thousands of blank lines are refused."""
    for data in (b"", b"\n" * 1_000):
        path = put(tmp_path, "p.csv", data)
        assert (column_names(path), list(read_rows(path))) == ([], [])
    with pytest.raises(FileRefused, match="blank lines"):
        column_names(put(tmp_path, "p.csv", b"\n" * 1_001))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["p.csv", "p.tsv"])
def test_the_header_shows_the_delimiter(tmp_path: Path, name: str, delimiter: str) -> None:
    """Fields are between commas, semicolons, tabs or bars, whatever the file's name says."""
    data = delimiter.join(["id", "title", '"a, b; c"']) + "\r\n" + delimiter.join(["1", '"x, y; z"', "2"]) + "\r\n"
    path = put(tmp_path, name, data.encode())
    assert column_names(path) == ["id", "title", "a, b; c"]
    assert [row.values for row in read_rows(path)] == [{"id": "1", "title": "x, y; z", "a, b; c": "2"}]


def test_the_header_of_other_programs(tmp_path: Path) -> None:
    """Spaces around names, blank lines above, Excel's line `sep=` and empty columns at the end do not matter."""
    for data in (b" id ,Title, Price \n1,x,5\n", b"\n\nid,Title,Price\n1,x,5\n", b"sep=;\nid;Title;Price\n1;x;5\n"):
        path = put(tmp_path, "p.csv", data)
        assert column_names(path) == ["id", "Title", "Price"]
        (row,) = read_rows(path)
        assert row.values == {"id": "1", "Title": "x", "Price": "5"}
        assert row.line == data.count(b"\n")
    path = put(tmp_path, "p.csv", b"id,title,,\n1,x,,\n2,y,,,,\n")
    assert [(row.values["id"], row.problem) for row in read_rows(path)] == [("1", ""), ("2", "")]


@pytest.mark.parametrize(
    ("header", "said"), [("id,title,id", "'id' twice"), (",".join(f"c{n}" for n in range(3_000)), "3000 columns")]
)
def test_a_header_that_cannot_be_used(tmp_path: Path, header: str, said: str) -> None:
    """A name that stands twice, and thousands of columns, refuse the file."""
    with pytest.raises(FileRefused, match=said):
        list(read_rows(put(tmp_path, "p.csv", f"{header}\n1,x,2\n".encode())))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.json"])
def test_a_byte_order_mark_names_the_encoding(tmp_path: Path, name: str, encoding: str) -> None:
    """UTF-8 and UTF-16 with a byte order mark are read in every kind of file, and the first row is there."""
    row = '{"id": "1", "title": "鞋"}'
    text = {"p.csv": "id,title\n1,鞋\n", "p.jsonl": f"{row}\n", "p.json": f"[{row}]"}
    mark = "" if encoding == "utf-8-sig" else "\ufeff"
    path = put(tmp_path, name, (mark + text[name]).encode(encoding))
    assert [row.values for row in read_rows(path)] == [{"id": "1", "title": "鞋"}]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_its_mark(tmp_path: Path, encoding: str) -> None:
    """UTF-16 is known by its zeros too."""
    path = put(tmp_path, "p.csv", "id,title\n1,Schöne Vase\n".encode(encoding))
    assert [row.values for row in read_rows(path)] == [{"id": "1", "title": "Schöne Vase"}]


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl"])
def test_no_text(tmp_path: Path, name: str) -> None:
    """What is no text is refused with the remedy."""
    with pytest.raises(FileRefused, match="save it as UTF-8"):
        list(read_rows(put(tmp_path, name, bytes(100))))


@pytest.mark.parametrize(
    ("name", "data", "described"),
    [
        ("p.csv", "\ufeffid;title\n".encode(), "CSV, fields separated by semicolon, UTF-8 with a byte order mark"),
        ("p.txt", b"id\ttitle\n1\tx\n", "CSV, fields separated by tab, UTF-8"),
        ("p.csv", "id;title\n".encode("utf-16"), "CSV, fields separated by semicolon, UTF-16 with a byte order mark"),
        ("p.json.gz", b'[{"id": 1}]', "JSON, UTF-8"),
    ],
)  # fmt: skip
def test_a_description(tmp_path: Path, name: str, data: bytes, described: str) -> None:
    """Format, separator, encoding, byte order mark and layout of a file are named."""
    assert str(describe(put(tmp_path, name, data))) == f"{described}, layout plain"


def test_a_quotation_mark_that_is_not_closed(tmp_path: Path) -> None:
    """The row that it swallows says how far it reaches."""
    path = put(tmp_path, "p.csv", b'id,title,note\n1,"12 inch,x\n2,y,z\n3,y,z\n')
    (row,) = read_rows(path)
    assert row.problem == "has 2 fields, but the header has 3; it reaches to line 4: is a quotation mark not closed?"


OBJECTS = [{"id": "1", "note": 'a "b", {[\\'}, {"id": "2", "more": [{"x": [1, 2]}, {}]}, {"id": "3"}]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", ["p.json", "p.jsonl", "p.json.gz"])
def test_an_array_of_objects(tmp_path: Path, name: str, indent: int | None) -> None:
    """An array is read as JSON lines are, in one line or in many; the line of a row is the one where it begins."""
    data = "\n " + json.dumps(OBJECTS, indent=indent) + "\n"
    rows = list(read_rows(put(tmp_path, name, data.encode())))
    assert [row.values for row in rows] == OBJECTS
    begins = [line for line, text in enumerate(data.split("\n"), 1) if text == "  {"]
    assert [row.line for row in rows] == (begins if indent else [2, 2, 2])


def test_a_long_array_in_one_line(tmp_path: Path) -> None:
    """An array is read piece by piece, wherever the pieces end."""
    objects = [{"id": str(n), "text": '\\"[{' * (n % 7), "list": ["]", "}"] * (n % 3)} for n in range(5_000)]
    rows = list(read_rows(put(tmp_path, "p.json", json.dumps(objects).encode())))
    assert [row.values for row in rows] == objects


@pytest.mark.parametrize("data", [b"[]", b" [ ] ", b""])
def test_an_empty_array(tmp_path: Path, data: bytes) -> None:
    """An empty array has no rows."""
    assert list(read_rows(put(tmp_path, "p.json", data))) == []


def test_wrong_elements_of_an_array(tmp_path: Path) -> None:
    """An element that is no object has a problem; the others are read."""
    path = put(tmp_path, "p.json", b'[{"id": 1},\n2, [3],\n"x,]", {"id": nil}, ,{"id": 4}]')
    rows = list(read_rows(path))
    assert [(row.line, bool(row.problem)) for row in rows] == [
        (1, False), (2, True), (2, True), (3, True), (3, True), (3, True), (3, False),
    ]  # fmt: skip
    assert "a comma too many" in rows[5].problem


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b'[{"id": 1}, {"id": ', "is cut off"), (b"[" * 100_000, "is cut off"),
        (b'[{"id": 1}] {"id": 2}', "after the array"),
        (b'{\n  "id": 1\n}\n', "is not JSON lines"), (b'{"products": [\n{"id": 1}\n]}\n', "is not JSON lines"),
        (b'{"id": 1,\n"title": "x"}\n', "is not JSON lines"),
    ],
    ids=["cut", "deep", "two", "pretty object", "inside an object", "object in two lines"],
)  # fmt: skip
def test_json_of_another_shape(tmp_path: Path, data: bytes, said: str) -> None:
    """A document that is neither JSON lines nor an array of objects is refused as a whole."""
    with pytest.raises(FileRefused, match=said):
        list(read_rows(put(tmp_path, "p.json", data)))


def test_a_line_without_an_end(tmp_path: Path) -> None:
    """A line of JSON that is too long has a problem and the next one is read; one of CSV refuses the file."""
    long = b"x" * (MAX_ROW + 10)
    bad, good = read_rows(put(tmp_path, "p.jsonl", b'{"id": "' + long + b'"}\n{"id": "2"}\n'))
    assert "more than 8 million characters" in bad.problem
    assert good.values == {"id": "2"}
    bad, good = read_rows(put(tmp_path, "p.json", b'[{"id": "' + long + b'"},\n{"id": "2"}]'))
    assert "more than 8 million characters" in bad.problem
    assert (good.line, good.values) == (2, {"id": "2"})
    with pytest.raises(FileRefused, match="line 2 has more than"):
        list(read_rows(put(tmp_path, "p.csv", b"id,title\n1," + long + b"\n")))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_that_grows_when_it_is_unpacked(tmp_path: Path, kind: str) -> None:
    """A .gz file that unpacks to hundreds of times its size is refused before it is unpacked."""
    path = tmp_path / f"p.{kind}.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(260):
            file.write(b" " * (1 << 20))
    with pytest.raises(FileRefused, match="unpack it and import the plain file"):
        list(read_rows(path))


texts = st.text('id,title;price\t|\r\n"[]{}:\\u0041 5.é\ufeff\x00', max_size=60).map(str.encode)


names = st.sampled_from(["p.csv", "p.tsv", "p.jsonl", "p.json", "p.parquet", "p.csv.gz", "p.xml"])


@given(names, st.binary(max_size=200) | texts)
def test_any_bytes(name: str, data: bytes) -> None:
    """Any file gives products, rejected rows or one error about the file; each problem can be written."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            mapping, _ = mapping_for(path, parse_mapping("id=id,title=title", None, "USD"))
            for row in read_rows(path):
                assert f"{row.problem}{row.raw}".encode()
                with suppress(RowRefused):
                    assert row.problem or mapping.product(row.values).id
                with suppress(RowRefused):
                    assert row.problem or event_of(row.values).event_id
        except FileRefused:
            pass
