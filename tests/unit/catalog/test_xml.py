"""Feeds in XML are read as a stream, without entities, DTD or network, and within limits; other XML is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from catalog.files import MAX_ROW
from catalog.rows import FileRefused, describe, read_rows

_BEGIN = '<rss xmlns:g="http://base.google.com/ns/1.0"><channel>'
_END = "</channel></rss>"


def put(folder: Path, text: str | bytes, name: str = "f.xml") -> Path:
    path = folder / name
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE r [<!ENTITY a "b">]><rss><item><id>&a;</id></item></rss>', "document type declaration"),
        ('<!DOCTYPE r SYSTEM "http://127.0.0.1:1/x.dtd"><rss/>', "document type declaration"),
        ("<rss><item><id>&nbsp;</id></item></rss>", "'nbsp' not defined"), ("<rss><item>", "not well-formed"),
        ("<rss><item><id>1</item></rss>", "not well-formed"), ("", "not well-formed"), ("id,title\n1,x\n", "not well"),
        ("<products><product/></products>", "begins with <products>; a feed in XML is RSS 2.0 or Atom"),
        ("<rss>" + "<a>" * 300 + "</a>" * 300 + "</rss>", "depth"),
    ],
)  # fmt: skip
def test_other_xml(tmp_path: Path, text: str, said: str) -> None:
    """What is no feed, is damaged, or declares entities is refused."""
    with pytest.raises(FileRefused, match=said):
        list(read_rows(put(tmp_path, text)))


def test_a_file_of_an_entity_is_not_opened(tmp_path: Path) -> None:
    """An entity that names a file refuses the feed; the file's text is in no row."""
    secret = put(tmp_path, "zebra", "secret.txt")
    text = f'<!DOCTYPE rss [<!ENTITY x SYSTEM "file://{secret}">]>{_BEGIN}<item><g:id>&x;</g:id></item>{_END}'
    with pytest.raises(FileRefused, match="DOCTYPE") as refused:
        list(read_rows(put(tmp_path, text)))
    assert "zebra" not in str(refused.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "windows-1252"])
@pytest.mark.parametrize("name", ["f.xml", "f.xml.gz"])
def test_encodings(tmp_path: Path, encoding: str, name: str) -> None:
    """The declared encoding is used and named."""
    text = f'<?xml version="1.0" encoding="{encoding}"?>{_BEGIN}<item><g:id>é</g:id></item>{_END}'
    path = put(tmp_path, text.encode(encoding), name)
    assert [row.values["id"] for row in read_rows(path)] == ["é"]
    assert describe(path).encoding.lower() == encoding


def test_damage_of_the_compression(tmp_path: Path) -> None:
    """A truncated .gz file is refused as one."""
    path = put(tmp_path, _BEGIN + "<item><g:id>1</g:id></item>" * 10_000 + _END, "f.xml.gz")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FileRefused, match="damaged or not a gzip file"):
        list(read_rows(path))


@pytest.mark.parametrize("inner", ["<g:a>x</g:a>" * 6_000, "<g:a/>" + "y" * (MAX_ROW + 9) + "<g:b/>"])
def test_an_item_beyond_the_limits(tmp_path: Path, inner: str) -> None:
    """An item with too many elements or characters has a problem; the next one is read."""
    path = put(tmp_path, f"{_BEGIN}<item>{inner}</item><item><g:id>2</g:id></item>{_END}")
    bad, good = read_rows(path)
    assert (bad.line, bad.values, "has more than" in bad.problem) == (1, {}, True)
    assert (good.line, good.values) == (2, {"id": "2"})
